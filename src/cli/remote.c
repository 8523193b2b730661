/*
 * Accounts, aliases, access control lists, reload and stop: commands over the control socket that need a line or a table to show
 * for it.
 */
#include "cli/control.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/secret.h"

#include <stdio.h>
#include <sysexits.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void keep_row(void *context, json_t *row)
{
    json_array_append(context, row);
}

static void print_row(void *context, json_t *row)
{
    (void)context;
    cli_print_json(row);
}

int cli_list_rows(const struct cli_input *input, const char *command, json_t *arguments,
                  const struct cli_column *columns, size_t count, const char *empty)
{
    if (input->json) {
        return control_once(input, command, arguments, print_row, NULL, NULL);
    }
    json_t *rows = json_array();
    int code = control_once(input, command, arguments, keep_row, rows, NULL);
    if (code == EX_OK) {
        cli_print_table(rows, columns, count, empty);
    }
    json_decref(rows);
    return code;
}

/* A request whose success needs one sentence. */
static int change(const struct cli_input *input, const char *command, json_t *arguments, const char *sentence)
{
    json_t *done = NULL;
    int code = control_once(input, command, arguments, NULL, NULL, &done);
    if (code == EX_OK && input->json) {
        cli_print_json(done);
    } else if (code == EX_OK) {
        puts(sentence);
    }
    json_decref(done);
    return code;
}

/* "10G", "none", "default" as octets, 0 and -1. */
static bool read_quota(const struct cli_input *input, const char *text, json_int_t *quota)
{
    static const struct {
        char letter;
        uint64_t factor;
    } units[] = {{'K', 1ULL << 10}, {'M', 1ULL << 20}, {'G', 1ULL << 30}, {'T', 1ULL << 40}};
    struct str word = str_of(text);
    uint64_t number = 0;
    uint64_t factor = 1;
    if (str_equal_nocase(word, STR("none")) || str_equal_nocase(word, STR("default"))) {
        *quota = str_equal_nocase(word, STR("none")) ? 0 : -1;
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(units) && word.len > 0; i++) {
        if (ascii_upper(word.data[word.len - 1]) == units[i].letter) {
            factor = units[i].factor;
            word.len--;
            break;
        }
    }
    if (!str_to_u64(word, (1ULL << 50) / factor, &number) || number == 0) {
        cli_fail(input, EX_USAGE,
                 "write octets with K, M, G or T behind them, `none` for no limit or `default` for the "
                 "configured one",
                 "\"%s\" is no quota", text);
        return false;
    }
    number *= factor;
    *quota = (json_int_t)number;
    return true;
}

static int send_password(const struct cli_input *input, const char *command, json_t *arguments,
                         const char *sentence)
{
    struct buf password = buf_make(SECRET_MAX);
    char prompt[512];
    snprintf(prompt, sizeof(prompt), "New password of %s", input->arguments[0]);
    int code = secret_read(input, prompt, true, &password);
    if (code == EX_OK && !str_is_utf8(buf_str(&password))) {
        code = cli_fail(input, EX_DATAERR, "mail programs send passwords in UTF-8",
                        "the password is not valid UTF-8");
    }
    if (code == EX_OK) {
        json_object_set_new(arguments, "password", json_stringn(password.data, password.len));
        code = change(input, command, json_incref(arguments), sentence);
    }
    json_decref(arguments);
    buf_wipe(&password);
    return code;
}

static json_t *address_arguments(const struct cli_input *input)
{
    return json_pack("{s:s}", "address", input->arguments[0]);
}

int cli_user_add(const struct cli_input *input)
{
    const char *text = cli_option_value(input, "--quota");
    json_int_t quota = -1;
    if (text != NULL && !read_quota(input, text, &quota)) {
        return EX_USAGE;
    }
    json_t *arguments = json_pack("{s:s,s:I}", "address", input->arguments[0], "quota", quota);
    return send_password(input, "user add", arguments, "The account is made.");
}

int cli_user_passwd(const struct cli_input *input)
{
    return send_password(input, "user passwd", address_arguments(input), "The password is changed.");
}

int cli_user_quota(const struct cli_input *input)
{
    json_int_t quota = -1;
    if (!read_quota(input, input->arguments[1], &quota)) {
        return EX_USAGE;
    }
    return change(input, "user quota", json_pack("{s:s,s:I}", "address", input->arguments[0], "quota", quota),
                  "The quota is changed.");
}

int cli_user_disable(const struct cli_input *input)
{
    return change(input, "user disable", address_arguments(input),
                  "The account is disabled: no logins, and mail for it is refused.");
}

int cli_user_enable(const struct cli_input *input)
{
    return change(input, "user enable", address_arguments(input), "The account is enabled.");
}

int cli_user_remove(const struct cli_input *input)
{
    if (!cli_option_given(input, "--yes")) {
        return cli_fail(input, EX_USAGE,
                        "give --yes if that is what you want; `veredus user disable` keeps the mail",
                        "this removes %s with all its messages for good", input->arguments[0]);
    }
    return change(input, "user remove", address_arguments(input),
                  "The account and its messages are removed.");
}

int cli_user_list(const struct cli_input *input)
{
    static const struct cli_column columns[] = {
        {"address", "ADDRESS", false, CLI_PLAIN},  {"state", "STATE", false, CLI_PLAIN},
        {"messages", "MESSAGES", true, CLI_PLAIN}, {"octets", "SIZE", true, CLI_OCTETS},
        {"quota", "QUOTA", true, CLI_QUOTA},
    };
    return cli_list_rows(input, "user list", NULL, columns, COUNT_OF(columns),
                         "There are no accounts; `veredus user add` makes one.");
}

int cli_alias_list(const struct cli_input *input)
{
    static const struct cli_column columns[] = {{"address", "ADDRESS", false, CLI_PLAIN},
                                                {"target", "LEADS TO", false, CLI_PLAIN}};
    return cli_list_rows(input, "alias list", NULL, columns, COUNT_OF(columns),
                         "There are no aliases; `veredus alias add` makes one.");
}

/* One request a target, over one connection. */
static int each_target(const struct cli_input *input, const char *command, const char *verb)
{
    int code;
    struct control *control = control_open(input, &code);
    for (size_t i = 1; control != NULL && i < input->argument_count && code == EX_OK; i++) {
        json_t *done = NULL;
        code = control_call(
            control, command,
            json_pack("{s:s,s:s}", "address", input->arguments[0], "target", input->arguments[i]), NULL, NULL,
            &done);
        if (code == EX_OK && input->json) {
            cli_print_json(done);
        } else if (code == EX_OK) {
            printf("%s %s %s.\n", input->arguments[0], verb, input->arguments[i]);
        }
        json_decref(done);
    }
    control_close(control);
    return code;
}

int cli_alias_add(const struct cli_input *input)
{
    return each_target(input, "alias add", "now leads to");
}

int cli_alias_remove(const struct cli_input *input)
{
    if (input->argument_count == 1) {
        return change(input, "alias remove", address_arguments(input), "The alias is removed.");
    }
    return each_target(input, "alias remove", "no longer leads to");
}

int cli_acl_list(const struct cli_input *input)
{
    static const struct cli_column columns[] = {{"mailbox", "MAILBOX", false, CLI_PLAIN},
                                                {"identifier", "WHO", false, CLI_PLAIN},
                                                {"rights", "RIGHTS", false, CLI_PLAIN}};
    json_t *arguments = address_arguments(input);
    if (input->argument_count > 1) {
        json_object_set_new(arguments, "mailbox", json_string(input->arguments[1]));
    }
    return cli_list_rows(input, "acl list", arguments, columns, COUNT_OF(columns),
                         "Nothing is shared; `veredus acl set` does it.");
}

/* Which entry is meant. */
static json_t *entry_arguments(const struct cli_input *input)
{
    return json_pack(
        "{s:s,s:s,s:o}", "address", input->arguments[0], "mailbox", input->arguments[1], "identifier",
        json_sprintf("%s%s", cli_option_given(input, "--negative") ? "-" : "", input->arguments[2]));
}

int cli_acl_set(const struct cli_input *input)
{
    json_t *arguments = entry_arguments(input);
    json_object_set_new(arguments, "rights", json_string(input->arguments[3]));
    return change(input, "acl set", arguments, "The rights are in force.");
}

int cli_acl_remove(const struct cli_input *input)
{
    return change(input, "acl remove", entry_arguments(input), "The entry is removed.");
}

int cli_reload(const struct cli_input *input)
{
    return change(input, "reload", NULL, "The configuration is in force.");
}

int cli_stop(const struct cli_input *input)
{
    return change(input, "stop", NULL, "The server finishes what is under way and stops.");
}
