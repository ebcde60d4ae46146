"""The live host: from the key to the ear.

Up to three processes, because a Python process that does anything else cannot keep up with audio:

- the *session* (`session`): the command itself. It loads presets, draws the terminal view, writes takes, watches the
  others and starts them again;
- the *engine* (`engine_process`): a `Processor` inside the callback of an audio back end, and nothing else;
- the *MIDI input* (`midi_process`): hands on what MIDI ports say, with the time at which it came.

They share a block of memory of fixed size (`shared`). Loaded patches travel to the engine over a socket (`handover`).
"""
