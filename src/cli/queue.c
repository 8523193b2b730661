/* The queue: commands over the control socket. `queue why` puts the last reply into plain words. */
#include "cli/control.h"
#include "cli/output.h"
#include "cli/run.h"
#include "message/codes.h"

#include <stdio.h>
#include <sysexits.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { WIDTH = 96, SHOWN_MAX = 20 };

/* The last reply as the other host gave it, "451 4.7.1 try later", instead of its text alone. */
static void join_reply(json_t *row)
{
    struct buf reply = buf_make(4096);
    json_int_t code = json_integer_value(json_object_get(row, "code"));
    const char *enhanced = json_string_value(json_object_get(row, "enhanced"));
    const char *text = json_string_value(json_object_get(row, "reply"));
    if (code != 0) {
        buf_printf(&reply, "%lld ", (long long)code);
    }
    if (enhanced != NULL && enhanced[0] != '\0') {
        buf_printf(&reply, "%s ", enhanced);
    }
    buf_printf(&reply, "%s", text == NULL ? "" : text);
    if (buf_ok(&reply)) {
        json_object_set_new(row, "last_reply", json_stringn(reply.data, reply.len));
    }
    buf_free(&reply);
}

int cli_queue_list(const struct cli_input *input)
{
    static const struct cli_column columns[] = {
        {"entry", "ROW", true, CLI_PLAIN},
        {"id", "MESSAGE", false, CLI_PLAIN},
        {"recipient", "RECIPIENT", false, CLI_PLAIN},
        {"state", "STATE", false, CLI_PLAIN},
        {"attempts", "TRIES", true, CLI_PLAIN},
        {"due_ms", "NEXT TRY", false, CLI_UNTIL},
        {"last_reply", "LAST REPLY", false, CLI_PLAIN},
    };
    json_t *arguments = input->argument_count == 0 ? NULL : json_pack("{s:s}", "what", input->arguments[0]);
    if (input->json) {
        return cli_list_rows(input, "queue list", arguments, columns, COUNT_OF(columns), "");
    }
    json_t *rows = json_array();
    int code = cli_collect_rows(input, "queue list", arguments, rows);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        join_reply(json_array_get(rows, i));
    }
    if (code == EX_OK) {
        cli_print_table(rows, columns, COUNT_OF(columns), "The queue is empty.");
    }
    json_decref(rows);
    return code;
}

/* What the row has of this member; an empty slice if it has nothing. */
static struct str text_of(const json_t *row, const char *member)
{
    const json_t *value = json_object_get(row, member);
    return json_is_string(value) ? str_make(json_string_value(value), json_string_length(value)) : STR_EMPTY;
}

static void print_member(const json_t *row, const char *member, const char *title, int form)
{
    const json_t *value = json_object_get(row, member);
    struct buf text = buf_make(4096);
    if (value != NULL) {
        cli_format_value(value, form, &text);
    }
    if (text.len > 0) {
        printf("  %-12s %.*s\n", title, STR_ARGS(buf_str(&text)));
    }
    buf_free(&text);
}

static void print_entry(const json_t *row)
{
    printf("Row %lld of the queue\n", (long long)json_integer_value(json_object_get(row, "entry")));
    print_member(row, "id", "message", CLI_PLAIN);
    print_member(row, "sender", "from", CLI_PLAIN);
    print_member(row, "recipient", "to", CLI_PLAIN);
    print_member(row, "login", "login", CLI_PLAIN);
    print_member(row, "client", "came from", CLI_PLAIN);
    print_member(row, "octets", "size", CLI_OCTETS);
    print_member(row, "state", "state", CLI_PLAIN);
    print_member(row, "queued_ms", "queued", CLI_TIME);
    print_member(row, "attempts", "tries", CLI_PLAIN);
    print_member(row, "due_ms", "next try", CLI_UNTIL);
    if (text_of(row, "host").len > 0) {
        print_member(row, "host", "last host", CLI_PLAIN);
    }
    print_member(row, "last_reply", "last reply", CLI_PLAIN);
}

/* The last reply in plain words; false if there was no reply yet. */
static bool append_words(const json_t *row, struct buf *words)
{
    struct codes_found found;
    unsigned code = (unsigned)json_integer_value(json_object_get(row, "code"));
    struct str enhanced = text_of(row, "enhanced");
    if ((code == 0 && enhanced.len == 0) || !codes_make(code, enhanced, &found)) {
        return false;
    }
    found.own = code == 0;
    return codes_append_words(&found, words);
}

static void append_why(const json_t *row, struct buf *words)
{
    struct str state = text_of(row, "state");
    struct str reply = text_of(row, "reply");
    if (str_equal(state, STR("held"))) {
        buf_append_lit(words, "It is held by command and waits until `veredus queue release` lets it go. ");
    } else if (str_equal(state, STR("delivering"))) {
        buf_append_lit(words, "It is being delivered right now. ");
    } else if (json_integer_value(json_object_get(row, "attempts")) == 0) {
        buf_append_lit(words, "It has not been tried yet. ");
    } else if (reply.len == 0) {
        buf_append_lit(words, "The last try failed without a reply. ");
    }
    if (append_words(row, words) && words->len > 0) {
        buf_append_char(words, ' ');
    }
    if (!str_equal(state, STR("held")) && json_integer_value(json_object_get(row, "attempts")) > 0) {
        buf_append_lit(words, "`veredus queue retry` tries it now.");
    }
}

/* queue show and queue why. */
static int show(const struct cli_input *input, bool why)
{
    json_t *rows = json_array();
    int code = cli_collect_rows(input, "queue show", json_pack("{s:s}", "what", input->arguments[0]), rows);
    size_t count = code == EX_OK ? json_array_size(rows) : 0;
    struct buf words = buf_make(16384);
    for (size_t i = 0; i < count; i++) {
        json_t *row = json_array_get(rows, i);
        buf_clear(&words);
        if (why) {
            append_why(row, &words);
            buf_append_char(&words, '\0');
        }
        if (input->json) {
            if (why && buf_ok(&words)) {
                json_object_set_new(row, "why", json_string(words.data));
            }
            cli_print_json(row);
            continue;
        }
        if (i > 0) {
            putchar('\n');
        }
        join_reply(row);
        print_entry(row);
        if (why && buf_ok(&words)) {
            putchar('\n');
            cli_print_folded(words.data, 2, WIDTH);
        }
    }
    buf_free(&words);
    json_decref(rows);
    return code;
}

int cli_queue_show(const struct cli_input *input)
{
    return show(input, false);
}

int cli_queue_why(const struct cli_input *input)
{
    return show(input, true);
}

/* Changes: for each selection one request, the counts added up. */

static int change_rows(const struct cli_input *input, const char *command, const char *verb)
{
    bool all = cli_option_given(input, "--all");
    if (all == (input->argument_count > 0)) {
        return cli_fail(input, EX_USAGE, "name rows, messages, addresses or domains, or give --all alone",
                        all ? "--all is given, and something else too"
                            : "it is not said which rows are meant");
    }
    int code;
    json_int_t changed = 0;
    json_int_t matched = 0;
    json_int_t under_way = 0;
    struct control *control = control_open(input, &code);
    for (size_t i = 0; control != NULL && code == EX_OK && i < (all ? 1 : input->argument_count); i++) {
        json_t *done = NULL;
        json_t *arguments =
            all ? json_pack("{s:b}", "all", 1) : json_pack("{s:s}", "what", input->arguments[i]);
        code = control_call(control, command, arguments, NULL, NULL, &done);
        changed += json_integer_value(json_object_get(done, "changed"));
        matched += json_integer_value(json_object_get(done, "matched"));
        under_way += json_integer_value(json_object_get(done, "under_way"));
        json_decref(done);
    }
    control_close(control);
    if (code != EX_OK) {
        return code;
    }
    if (input->json) {
        json_t *sum = json_pack("{s:b,s:I,s:I,s:I}", "done", 1, "matched", matched, "changed", changed,
                                "under_way", under_way);
        cli_print_json(sum);
        json_decref(sum);
    } else {
        printf("%lld of %lld rows %s.\n", (long long)changed, (long long)matched, verb);
        if (under_way > 0) {
            printf(
                "%lld are being delivered right now and were left alone; hold them first to change them.\n",
                (long long)under_way);
        }
    }
    return EX_OK;
}

int cli_queue_retry(const struct cli_input *input)
{
    return change_rows(input, "queue retry", "are tried now");
}

int cli_queue_hold(const struct cli_input *input)
{
    return change_rows(input, "queue hold", "are held");
}

int cli_queue_release(const struct cli_input *input)
{
    return change_rows(input, "queue release", "are released and tried now");
}

int cli_queue_drop(const struct cli_input *input)
{
    return change_rows(input, "queue drop", "are removed; their senders are not told");
}
