/* A JACK client that burns a share of every period and nothing else: what this machine does to real-time code.

   cc -O2 -o jack_control jack_control.c -ljack && ./jack_control SHARE SECONDS
   prints: periods, p50, p99, p99.9 and maximum of the callback as shares of the period, under-runs the server told */
#define _GNU_SOURCE
#include <jack/jack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BINS 2001
static long bins[BINS], periods, xruns;
static double share, rate, worst;
static jack_port_t *out;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static int process(jack_nframes_t n, void *unused) {
    (void)unused;
    double began = now(), period = n / rate, took;
    memset(jack_port_get_buffer(out, n), 0, n * sizeof(float));
    do took = (now() - began) / period;
    while (took < share);
    if (took > worst) worst = took;
    int bin = (int)(1000 * took);
    bins[bin < BINS ? bin : BINS - 1]++;
    periods++;
    return 0;
}

static int xrun(void *unused) {
    (void)unused;
    xruns++;
    return 0;
}

static double quantile(double q) {
    long seen = 0;
    for (int i = 0; i < BINS; i++)
        if ((seen += bins[i]) >= q * periods) return (i + 1) / 1000.0;
    return worst;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    share = atof(argv[1]);
    jack_client_t *client = jack_client_open("control", JackNoStartServer, NULL);
    if (!client) return 3;
    rate = jack_get_sample_rate(client);
    out = jack_port_register(client, "out", JACK_DEFAULT_AUDIO_TYPE, JackPortIsOutput, 0);
    jack_set_process_callback(client, process, NULL);
    jack_set_xrun_callback(client, xrun, NULL);
    if (jack_activate(client)) return 3;
    const char **ports = jack_get_ports(client, NULL, JACK_DEFAULT_AUDIO_TYPE, JackPortIsPhysical | JackPortIsInput);
    if (ports) jack_connect(client, jack_port_name(out), ports[0]);
    usleep((useconds_t)(1e6 * atof(argv[2])));
    jack_deactivate(client);
    printf("%ld %.3f %.3f %.3f %.3f %ld\n", periods, quantile(.5), quantile(.99), quantile(.999), worst, xruns);
    jack_client_close(client);
    return 0;
}
