/* `help`, `--help` and `version`, made from the table of commands. */
#include "cli/output.h"
#include "cli/run.h"
#include "cli/version.h"

#include <stdio.h>
#include <sysexits.h>

enum { WIDTH = 96, COLUMN = 26 };

static void print_entry(const char *left, const char *right)
{
    size_t columns = cli_columns(str_of(left));
    if (columns + 4 > COLUMN) {
        printf("  %s\n", left);
        cli_print_folded(right, COLUMN, WIDTH);
        return;
    }
    char area[4096];
    struct buf line = {.data = area, .cap = sizeof(area), .limit = sizeof(area) - 1};
    buf_append_str(&line, str_of(right));
    area[line.len] = '\0';
    printf("  %-*s", COLUMN - 2, left);
    /* The first line goes on behind the name: print folded, without the indent of the first line. */
    struct str rest = buf_str(&line);
    struct str word;
    size_t column = COLUMN;
    while (str_split(&rest, ' ', &word)) {
        if (column > COLUMN && column + 1 + cli_columns(word) > WIDTH) {
            printf("\n%*s", COLUMN, "");
            column = COLUMN;
        }
        column += (size_t)printf("%s%.*s", column > COLUMN ? " " : "", STR_ARGS(word));
    }
    putchar('\n');
}

void cli_usage_line(const struct cli_command *command, struct buf *out)
{
    buf_printf(out, "veredus %s", command->name);
    for (size_t i = 0; i < CLI_OPTIONS_MAX && command->options[i].name != NULL; i++) {
        const struct cli_option *option = &command->options[i];
        buf_printf(out, " [%s%s%s]%s", option->letter != NULL ? option->letter : option->name,
                   option->value == NULL ? "" : " ", option->value == NULL ? "" : option->value,
                   option->many ? "..." : "");
    }
    for (size_t i = 0; i < CLI_ARGUMENTS_MAX && command->arguments[i].name != NULL; i++) {
        const struct cli_argument *argument = &command->arguments[i];
        buf_printf(out, argument->optional ? " [%s%s]" : " %s%s", argument->name,
                   argument->many ? "..." : "");
    }
}

static void print_option(const struct cli_option *option)
{
    char left[128];
    snprintf(left, sizeof(left), "%s%s%s%s%s", option->letter == NULL ? "" : option->letter,
             option->letter == NULL ? "" : ", ", option->name, option->value == NULL ? "" : " ",
             option->value == NULL ? "" : option->value);
    print_entry(left, option->help);
}

static void print_command(const struct cli_command *command)
{
    struct buf usage = buf_make(4096);
    cli_usage_line(command, &usage);
    printf("%s\n\nUsage: %.*s\n", command->synopsis, STR_ARGS(buf_str(&usage)));
    buf_free(&usage);
    if (command->help != NULL) {
        putchar('\n');
        cli_print_folded(command->help, 0, WIDTH);
    }
    if (command->arguments[0].name != NULL) {
        puts("\nArguments:");
        for (size_t i = 0; i < CLI_ARGUMENTS_MAX && command->arguments[i].name != NULL; i++) {
            print_entry(command->arguments[i].name, command->arguments[i].help);
        }
    }
    puts("\nOptions:");
    for (size_t i = 0; i < CLI_OPTIONS_MAX && command->options[i].name != NULL; i++) {
        print_option(&command->options[i]);
    }
    for (size_t i = 0; i < cli_server_option_count && command->server; i++) {
        print_option(&cli_server_options[i]);
    }
    for (size_t i = 0; i < cli_common_option_count; i++) {
        print_option(&cli_common_options[i]);
    }
    if (command->examples[0].line != NULL) {
        puts("\nExamples:");
    }
    for (size_t i = 0; i < 4 && command->examples[i].line != NULL; i++) {
        printf("  %s\n", command->examples[i].line);
        cli_print_folded(command->examples[i].words, 6, WIDTH);
    }
}

static void print_names(const char *group)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *command = &cli_commands[i];
        struct str name = str_of(command->name);
        if (command->hidden ||
            (group != NULL && !(str_starts(name, str_of(group)) && name.data[strlen(group)] == ' '))) {
            continue;
        }
        print_entry(command->name, command->synopsis);
    }
}

void cli_print_group(const char *group)
{
    printf("Commands of `veredus %s`:\n\n", group);
    print_names(group);
    printf("\n`veredus help %s COMMAND` tells more of one.\n", group);
}

void cli_print_help(const struct cli_command *command)
{
    if (command != NULL) {
        print_command(command);
        return;
    }
    puts("veredus " VEREDUS_VERSION ": a complete mail server\n");
    print_names(NULL);
    puts("\n`veredus help COMMAND` tells more of one, with examples. To try it: veredus dev");
}

int cli_version(const struct cli_input *input)
{
    if (input->json) {
        puts("{\"version\":\"" VEREDUS_VERSION "\"}");
    } else {
        puts("veredus " VEREDUS_VERSION);
    }
    return EX_OK;
}

static bool is_group(const char *word)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        if (str_starts(str_of(cli_commands[i].name), str_of(word)) &&
            cli_commands[i].name[strlen(word)] == ' ') {
            return true;
        }
    }
    return false;
}

static json_t *option_object(const struct cli_option *option)
{
    return json_pack("{s:s,s:s*,s:s*,s:b,s:s}", "name", option->name, "letter", option->letter, "value",
                     option->value, "many", option->many, "help", option->help);
}

static json_t *command_object(const struct cli_command *command)
{
    json_t *arguments = json_array();
    json_t *options = json_array();
    json_t *examples = json_array();
    for (size_t i = 0; i < CLI_ARGUMENTS_MAX && command->arguments[i].name != NULL; i++) {
        const struct cli_argument *argument = &command->arguments[i];
        json_array_append_new(arguments,
                              json_pack("{s:s,s:b,s:b,s:s}", "name", argument->name, "optional",
                                        argument->optional, "many", argument->many, "help", argument->help));
    }
    for (size_t i = 0; i < CLI_OPTIONS_MAX && command->options[i].name != NULL; i++) {
        json_array_append_new(options, option_object(&command->options[i]));
    }
    for (size_t i = 0; i < cli_server_option_count && command->server; i++) {
        json_array_append_new(options, option_object(&cli_server_options[i]));
    }
    for (size_t i = 0; i < cli_common_option_count; i++) {
        json_array_append_new(options, option_object(&cli_common_options[i]));
    }
    for (size_t i = 0; i < 4 && command->examples[i].line != NULL; i++) {
        json_array_append_new(examples, json_pack("{s:s,s:s}", "line", command->examples[i].line, "words",
                                                  command->examples[i].words));
    }
    return json_pack("{s:s,s:s,s:s*,s:o,s:o,s:o}", "name", command->name, "synopsis", command->synopsis,
                     "help", command->help, "arguments", arguments, "options", options, "examples", examples);
}

static void print_object(const struct cli_command *command)
{
    json_t *object = command_object(command);
    cli_print_json(object);
    json_decref(object);
}

int cli_help(const struct cli_input *input)
{
    char name[128];
    if (input->argument_count == 0) {
        if (!input->json) {
            cli_print_help(NULL);
        }
        for (size_t i = 0; i < cli_command_count && input->json; i++) {
            if (!cli_commands[i].hidden) {
                print_object(&cli_commands[i]);
            }
        }
        return EX_OK;
    }
    if (input->argument_count == 1 && cli_find_command(input->arguments[0]) == NULL &&
        is_group(input->arguments[0])) {
        cli_print_group(input->arguments[0]);
        return EX_OK;
    }
    int n = snprintf(name, sizeof(name), "%s%s%s", input->arguments[0], input->argument_count > 1 ? " " : "",
                     input->argument_count > 1 ? input->arguments[1] : "");
    const struct cli_command *command = n > 0 && (size_t)n < sizeof(name) ? cli_find_command(name) : NULL;
    if (command == NULL) {
        return cli_unknown_command(input, (int)input->argument_count, input->arguments);
    }
    if (input->json) {
        print_object(command);
    } else {
        cli_print_help(command);
    }
    return EX_OK;
}
