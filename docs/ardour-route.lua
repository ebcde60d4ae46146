-- Ardour 7 plays neuralsynth and records it, without a window. See "Into a DAW" in live.md:
--   neuralsynth play -p cello --midi jack --audio jack --no-connect
--   jack_midiseq Sequencer 48000 0 60 16000 24000 64 16000
--   ardour7-lua docs/ardour-route.lua
-- A MIDI track records the sequencer's notes; then it plays them to neuralsynth, and an audio track records the sound.
-- The session is made in the folder that SESSION names; take its audio from interchange/*/audiofiles.

local folder = os.getenv("SESSION") or "/tmp/neuralsynth-session"

AudioEngine:set_backend("JACK", "ardour", "")
local session = create_session(folder, "route", 48000)
assert(session, "no session in " .. folder .. ": is it there already, is JACK running?")

local function wait(seconds) ARDOUR.LuaAPI.usleep(math.floor(seconds * 1000000)) end

local one_midi = ARDOUR.ChanCount(ARDOUR.DataType("midi"), 1)
local last, normal = ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal
local keys, sound
for track in session:new_midi_track(one_midi, one_midi, true, ARDOUR.PluginInfo(), nil, nil, 1, "Keys", last, normal,
                                    true):iter() do keys = track end
for track in session:new_audio_track(2, 2, nil, 1, "Sound", last, normal):iter() do sound = track end

for _, io in ipairs({keys:input(), keys:output(), sound:input()}) do io:disconnect_all(nil) end
local function connect(port, other) assert(port:connect(other) == 0, "cannot connect " .. other) end
connect(keys:input():midi(0), "Sequencer:out")
connect(keys:output():midi(0), "neuralsynth:midi_in")
connect(sound:input():audio(0), "neuralsynth:out_1")
connect(sound:input():audio(1), "neuralsynth:out_2")
wait(1)

local by = ARDOUR.TransportRequestSource.TRS_UI
local function record(track, seconds)
  local armed = track:rec_enable_control()
  armed:set_value(1, PBD.GroupControlDisposition.NoGroup)
  wait(0.5)
  session:maybe_enable_record(true)
  wait(0.5)
  session:request_roll(by)
  wait(seconds)
  session:request_stop(false, false, by)
  wait(1.5)
  armed:set_value(0, PBD.GroupControlDisposition.NoGroup)
  print(track:name() .. ": " .. track:to_track():playlist():region_list():size() .. " region")
end

record(keys, 4)
keys:input():disconnect_all(nil)
session:request_locate(0, false, ARDOUR.LocateTransportDisposition.MustStop, by)
wait(1)
record(sound, 5)
session:save_state("", false, false, false, false, false)
close_session()
quit()
