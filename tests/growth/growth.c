/*
 * Runs the cases of growth.h. Under `valgrind --tool=callgrind --collect-atstart=no` each run is dumped with the case's name and
 * the number of octets; only the parsing is counted. Without arguments: all cases; else those named. --list names them.
 */
#include "growth.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

enum { OCTETS = 16384, LIMIT = 1 << 20 };

static void make_input(const struct growth_case *c, size_t octets, struct buf *input)
{
    struct str pattern = str_of(c->pattern);
    size_t around = strlen(c->before) + strlen(c->after);
    buf_append_str(input, str_of(c->before));
    while (input->len + around + pattern.len <= octets) {
        buf_append_str(input, pattern);
    }
    buf_append_str(input, str_of(c->after));
}

static void measure_one(const struct growth_case *c, size_t octets)
{
    char label[128];
    struct buf input = buf_make(LIMIT);
    make_input(c, octets, &input);
    (void)snprintf(label, sizeof(label), "%s %zu", c->name, input.len);
    if (growth_prepare != NULL) {
        growth_prepare();
    }
    CALLGRIND_ZERO_STATS;
    CALLGRIND_TOGGLE_COLLECT;
    c->run(buf_str(&input));
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS_AT(label);
    buf_free(&input);
}

/* Each in a process of its own: whether a buffer that grows is copied depends on what the heap held before. False: it failed. */
static bool measure(const struct growth_case *c)
{
    bool fine = true;
    for (size_t octets = OCTETS; octets <= OCTETS * 4; octets *= 2) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            measure_one(c, octets);
            _exit(0);
        }
        fine = child > 0 && waitpid(child, &status, 0) == child && status == 0 && fine;
    }
    return fine;
}

static bool is_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return true;
        }
    }
    return argc == 1;
}

int main(int argc, char **argv)
{
    bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
    for (size_t t = 0; t < growth_table_count; t++) {
        for (size_t i = 0; i < growth_tables[t]->count; i++) {
            const struct growth_case *c = &growth_tables[t]->cases[i];
            if (list) {
                (void)printf("%s\n", c->name);
            } else if (is_wanted(c->name, argc, argv) && !measure(c)) {
                (void)fprintf(stderr, "%s cannot be measured\n", c->name);
                return 1;
            }
        }
    }
    return 0;
}
