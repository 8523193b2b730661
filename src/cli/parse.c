/*
 * From words on the command line to a command of the table, and what is said when they make none. Called by main.c.
 */
#include "cli/command.h"
#include "cli/output.h"
#include "config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <sysexits.h>

const struct cli_option cli_common_options[] = {
    {"--json", NULL, NULL, false, "Print JSON: an object, or for a list an object a line."},
    {"--help", "-h", NULL, false, "Print this help."},
};
const size_t cli_common_option_count = sizeof(cli_common_options) / sizeof(cli_common_options[0]);

const struct cli_option cli_server_options[] = {
    {"--config", "-c", "FILE", false,
     "The configuration of the server to talk to, which names its control socket (standard: "
     "/etc/veredus/veredus.conf)."},
    {"--dir", NULL, "DIR", false, "The directory of a running `veredus dev` to talk to."},
    {"--timeout", NULL, "SECONDS", false, "How long the server may take to answer (standard: 30)."},
};
const size_t cli_server_option_count = sizeof(cli_server_options) / sizeof(cli_server_options[0]);

/* How many words the name has. */
static int words_of(const char *name)
{
    int words = 1;
    for (size_t i = 0; name[i] != '\0'; i++) {
        words += name[i] == ' ';
    }
    return words;
}

static bool is_first_word(const char *name, struct str word)
{
    return str_starts(str_of(name), word) && (name[word.len] == ' ' || name[word.len] == '\0');
}

const struct cli_command *cli_find_command(const char *name)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        if (strcmp(cli_commands[i].name, name) == 0) {
            return &cli_commands[i];
        }
    }
    return NULL;
}

/* The command that these words begin with; *used tells how many are its name. */
static const struct cli_command *match_command(int argc, char **argv, int *used)
{
    char name[64];
    for (int words = argc < 2 ? argc : 2; words > 0; words--) {
        int n = words == 2 ? snprintf(name, sizeof(name), "%s %s", argv[0], argv[1])
                           : snprintf(name, sizeof(name), "%s", argv[0]);
        const struct cli_command *command = n > 0 && (size_t)n < sizeof(name) ? cli_find_command(name) : NULL;
        if (command != NULL) {
            *used = words;
            return command;
        }
    }
    return NULL;
}

/* The first or second words of all commands, each once. */
static size_t collect_words(const char *group, const char **words, char area[][32], size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < cli_command_count && count < max; i++) {
        struct str name = str_of(cli_commands[i].name);
        size_t space = str_find(name, 0, ' ');
        struct str word = group == NULL ? str_sub(name, 0, space)
                                        : str_from(name, space == SIZE_MAX ? name.len : space + 1);
        if (cli_commands[i].hidden || word.len == 0 || word.len > 31 ||
            (group != NULL && !is_first_word(cli_commands[i].name, str_of(group)))) {
            continue;
        }
        if (count > 0 && str_equal(str_of(words[count - 1]), word)) {
            continue;
        }
        memcpy(area[count], word.data, word.len);
        area[count][word.len] = '\0';
        words[count] = area[count];
        count++;
    }
    return count;
}

static bool is_group(const char *word)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        if (words_of(cli_commands[i].name) == 2 && is_first_word(cli_commands[i].name, str_of(word))) {
            return true;
        }
    }
    return false;
}

int cli_unknown_command(const struct cli_input *input, int argc, const char *const *argv)
{
    const char *words[64];
    char area[64][32];
    bool grouped = is_group(argv[0]);
    const char *group = grouped ? argv[0] : NULL;
    size_t count = collect_words(group, words, area, 64);
    char advice[512] = "";
    if (grouped && argc < 2) {
        struct buf list = {.data = advice, .cap = sizeof(advice), .limit = sizeof(advice) - 1};
        buf_append_lit(&list, "write one of:");
        for (size_t i = 0; i < count; i++) {
            buf_printf(&list, " %s", words[i]);
        }
        advice[list.len] = '\0';
        return cli_fail(input, EX_USAGE, advice, "`veredus %s` needs a second word", group);
    }
    const char *word = grouped ? argv[1] : argv[0];
    struct str near = config_nearest(str_of(word), words, count);
    if (near.len > 0) {
        snprintf(advice, sizeof(advice), "did you mean `veredus %s%s%.*s`?", group == NULL ? "" : group,
                 group == NULL ? "" : " ", STR_ARGS(near));
    } else {
        snprintf(advice, sizeof(advice), "`veredus help` lists the commands");
    }
    return cli_fail(input, EX_USAGE, advice, "there is no command \"%s%s%s\"", group == NULL ? "" : group,
                    group == NULL ? "" : " ", word);
}

/* Options. */

static const struct cli_option *find_in(const struct cli_option *options, size_t count, struct str name)
{
    for (size_t i = 0; i < count && options[i].name != NULL; i++) {
        if (str_equal(str_of(options[i].name), name) ||
            (options[i].letter != NULL && str_equal(str_of(options[i].letter), name))) {
            return &options[i];
        }
    }
    return NULL;
}

static const struct cli_option *find_option(const struct cli_command *command, struct str name)
{
    const struct cli_option *option = find_in(command->options, CLI_OPTIONS_MAX, name);
    if (option == NULL && command->server) {
        option = find_in(cli_server_options, cli_server_option_count, name);
    }
    return option != NULL ? option : find_in(cli_common_options, cli_common_option_count, name);
}

static int unknown_option(const struct cli_input *input, struct str name)
{
    const struct cli_command *command = input->command;
    const char *names[CLI_OPTIONS_MAX + 8];
    size_t count = 0;
    for (size_t i = 0; i < CLI_OPTIONS_MAX && command->options[i].name != NULL; i++) {
        names[count++] = command->options[i].name;
    }
    for (size_t i = 0; i < cli_server_option_count && command->server; i++) {
        names[count++] = cli_server_options[i].name;
    }
    for (size_t i = 0; i < cli_common_option_count; i++) {
        names[count++] = cli_common_options[i].name;
    }
    char advice[256];
    struct str near = config_nearest(name, names, count);
    if (near.len > 0) {
        snprintf(advice, sizeof(advice), "did you mean %.*s?", STR_ARGS(near));
    } else {
        snprintf(advice, sizeof(advice), "`veredus help %s` lists its options", command->name);
    }
    return cli_fail(input, EX_USAGE, advice, "`veredus %s` has no option %.*s", command->name,
                    STR_ARGS(name));
}

/* Takes the option at argv[*at]; EX_OK or an exit code after a message. */
static int take_option(struct cli_input *input, int argc, char **argv, int *at)
{
    struct str word = str_of(argv[*at]);
    size_t equals = str_starts(word, STR("--")) ? str_find(word, 0, '=') : SIZE_MAX;
    struct str name = str_sub(word, 0, equals);
    const struct cli_option *option = find_option(input->command, name);
    if (option == NULL) {
        return unknown_option(input, name);
    }
    const char *value = "";
    if (option->value == NULL && equals != SIZE_MAX) {
        return cli_fail(input, EX_USAGE, "leave out what follows the =", "%s has no value", option->name);
    }
    if (option->value != NULL && equals != SIZE_MAX) {
        value = argv[*at] + equals + 1;
    } else if (option->value != NULL) {
        if (*at + 1 >= argc) {
            return cli_fail(input, EX_USAGE, "give it after the option", "%s needs a value: %s", option->name,
                            option->value);
        }
        value = argv[++*at];
    }
    if (!option->many && cli_option_given(input, option->name) && option->value != NULL) {
        return cli_fail(input, EX_USAGE, "leave one out", "%s is given twice", option->name);
    }
    if (input->option_count >= CLI_VALUES_MAX) {
        return cli_fail(input, EX_USAGE, NULL, "there are too many options");
    }
    input->options[input->option_count].option = option;
    input->options[input->option_count++].value = value;
    input->json = input->json || strcmp(option->name, "--json") == 0;
    return EX_OK;
}

/* How many arguments there must be at least, and may be at most. */
static void argument_bounds(const struct cli_command *command, size_t *least, size_t *most)
{
    *least = 0;
    *most = 0;
    for (size_t i = 0; i < CLI_ARGUMENTS_MAX && command->arguments[i].name != NULL; i++) {
        *least += !command->arguments[i].optional;
        *most = command->arguments[i].many ? CLI_VALUES_MAX : *most + 1;
    }
}

static int check_arguments(const struct cli_input *input)
{
    const struct cli_command *command = input->command;
    size_t least;
    size_t most;
    argument_bounds(command, &least, &most);
    char advice[128];
    snprintf(advice, sizeof(advice), "`veredus help %s` shows how it is used", command->name);
    if (input->argument_count < least) {
        return cli_fail(input, EX_USAGE, advice, "`veredus %s` needs %s", command->name,
                        command->arguments[input->argument_count].name);
    }
    if (input->argument_count > most) {
        return cli_fail(input, EX_USAGE, advice, "`veredus %s` does not know what to do with \"%s\"",
                        command->name, input->arguments[most]);
    }
    return EX_OK;
}

static int run_command(struct cli_input *input, int argc, char **argv)
{
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
            int code = take_option(input, argc, argv, &i);
            if (code != EX_OK) {
                return code;
            }
        } else if (input->argument_count >= CLI_VALUES_MAX) {
            return cli_fail(input, EX_USAGE, NULL, "there are too many arguments");
        } else {
            input->arguments[input->argument_count++] = argv[i];
        }
    }
    if (cli_option_given(input, "--help")) {
        cli_print_help(input->command);
        return EX_OK;
    }
    int code = check_arguments(input);
    return code == EX_OK ? input->command->run(input) : code;
}

int cli_run(int argc, char **argv)
{
    static struct cli_input input;
    while (argc > 0 && strcmp(argv[0], "--json") == 0) {
        input.json = true;
        argc--;
        argv++;
    }
    if (argc <= 0) {
        cli_print_help(NULL);
        return EX_USAGE;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        cli_print_help(NULL);
        return EX_OK;
    }
    char version[] = "version";
    if (strcmp(argv[0], "--version") == 0) {
        argv[0] = version;
    }
    int used = 0;
    for (int i = 1; i < argc && i < 2; i++) {
        if (is_group(argv[0]) && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            cli_print_group(argv[0]);
            return EX_OK;
        }
    }
    input.command = match_command(argc, argv, &used);
    if (input.command == NULL) {
        return cli_unknown_command(&input, argc, (const char *const *)argv);
    }
    return run_command(&input, argc - used, argv + used);
}

const char *cli_option_value(const struct cli_input *input, const char *name)
{
    for (size_t i = input->option_count; i > 0; i--) {
        if (strcmp(input->options[i - 1].option->name, name) == 0) {
            return input->options[i - 1].value;
        }
    }
    return NULL;
}

bool cli_option_number(const struct cli_input *input, const char *name, uint64_t min, uint64_t max,
                       uint64_t *number)
{
    const char *text = cli_option_value(input, name);
    uint64_t value = 0;
    if (text == NULL) {
        return true;
    }
    if (!str_to_u64(str_of(text), max, &value) || value < min) {
        char advice[96];
        snprintf(advice, sizeof(advice), "give a number from %llu to %llu", (unsigned long long)min,
                 (unsigned long long)max);
        cli_fail(input, EX_USAGE, advice, "%s: \"%s\" will not do", name, text);
        return false;
    }
    *number = value;
    return true;
}

int cli_fail(const struct cli_input *input, int code, const char *advice, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cli_print_error(input->json, code, n < 0 ? "the command failed" : text, advice);
    return code;
}
