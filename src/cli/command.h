/*
 * The commands of `veredus`: one table holds each one's name, arguments, options, help and examples. Parsing, --help, `help`,
 * completion and the manual page are all made from it.
 */
#ifndef VEREDUS_CLI_COMMAND_H
#define VEREDUS_CLI_COMMAND_H

#include "base/buf.h"

enum { CLI_OPTIONS_MAX = 16, CLI_ARGUMENTS_MAX = 8, CLI_VALUES_MAX = 1024, CLI_WORDS_MAX = 3 };

/* An option of a command. Those of `cli_common_options` belong to every command that says so. */
struct cli_option {
    const char *name;   /* "--port-base" */
    const char *letter; /* "-n", or NULL */
    const char *value;  /* what the value is, "FILE"; NULL: the option has none */
    bool many;          /* may be given more than once */
    const char *help;
};

struct cli_argument {
    const char *name; /* "ADDRESS" */
    bool optional;
    bool many; /* the last one only: one or more (none or more if optional) */
    const char *help;
};

struct cli_example {
    const char *line;
    const char *words; /* what it does */
};

struct cli_input;

struct cli_command {
    const char *name;     /* "queue show" */
    const char *synopsis; /* one line of help */
    const char *help;     /* paragraphs, parted by an empty line; NULL: none */
    struct cli_argument arguments[CLI_ARGUMENTS_MAX];
    struct cli_option options[CLI_OPTIONS_MAX];
    struct cli_example examples[4];
    bool server; /* talks to the running server: has -c and --dir */
    bool hidden; /* not for people */
    /* Returns an exit code of sysexits.h. */
    int (*run)(const struct cli_input *input);
};

/* A command line, parsed. Everything points into argv. */
struct cli_input {
    const struct cli_command *command;
    bool json;
    size_t argument_count;
    const char *arguments[CLI_VALUES_MAX];
    size_t option_count;
    struct {
        const struct cli_option *option;
        const char *value;
    } options[CLI_VALUES_MAX];
};

/* Where the configuration is unless a command is told otherwise. */
#define CLI_CONFIG_FILE "/etc/veredus/veredus.conf"

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;
/* --json, --help: every command has them. */
extern const struct cli_option cli_common_options[];
extern const size_t cli_common_option_count;
/* -c, --dir, --timeout: those that talk to the server. */
extern const struct cli_option cli_server_options[];
extern const size_t cli_server_option_count;

/* `argv` without the program's name. Returns the exit code. */
int cli_run(int argc, char **argv);

/* The value of an option that was given last, or NULL; of an option without value "" if it was given. */
const char *cli_option_value(const struct cli_input *input, const char *name);
static inline bool cli_option_given(const struct cli_input *input, const char *name)
{
    return cli_option_value(input, name) != NULL;
}
/* The value of a number; false after a message if it is none or out of bounds. `*number` stays if it was not given. */
bool cli_option_number(const struct cli_input *input, const char *name, uint64_t min, uint64_t max,
                       uint64_t *number);

/* Prints one command's help, or with NULL what there is. */
void cli_print_help(const struct cli_command *command);
/* The commands whose first word this is. */
void cli_print_group(const char *group);
/* The command of that name ("queue show"), or NULL. */
const struct cli_command *cli_find_command(const char *name);

/* Says that these words make no command, with the nearest that do. Returns EX_USAGE. */
int cli_unknown_command(const struct cli_input *input, int argc, const char *const *argv);
/* "veredus queue show [--x] ID", appended. */
void cli_usage_line(const struct cli_command *command, struct buf *out);

/* What a command that failed says: the message, and with --json an object with code, message and advice. Returns `code`. */
int cli_fail(const struct cli_input *input, int code, const char *advice, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
