/* `status` and `trace`: what the server does, and what became of a message. Over the control socket. */
#include "base/ident.h"
#include "cli/control.h"
#include "cli/output.h"
#include "cli/run.h"

#include <stdio.h>
#include <sysexits.h>
#include <time.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { MESSAGES_STANDARD = 10, MESSAGES_MAX = 200 };

static void keep_row(void *context, json_t *row)
{
    json_array_append(context, row);
}

int cli_collect_rows(const struct cli_input *input, const char *command, json_t *arguments, json_t *rows)
{
    return control_once(input, command, arguments, keep_row, rows, NULL);
}

/* Status. */

static void print_line(const json_t *status, const char *member, const char *title, int form)
{
    struct buf text = buf_make(4096);
    const json_t *value = json_object_get(status, member);
    if (value != NULL) {
        cli_format_value(value, form, &text);
    }
    printf("%-16s %.*s\n", title, STR_ARGS(buf_str(&text)));
    buf_free(&text);
}

static void print_status(const json_t *status, const json_t *roles)
{
    static const struct cli_column columns[] = {
        {"role", "ROLE", false, CLI_PLAIN},        {"instance", "INSTANCE", true, CLI_PLAIN},
        {"pid", "PID", true, CLI_PLAIN},           {"state", "STATE", false, CLI_PLAIN},
        {"restarts", "RESTARTS", true, CLI_PLAIN}, {"generation", "CONFIGURATION", true, CLI_PLAIN},
    };
    print_line(status, "hostname", "host", CLI_PLAIN);
    print_line(status, "configuration", "configuration", CLI_PLAIN);
    print_line(status, "accepting", "accepts mail", CLI_PLAIN);
    print_line(status, "free_octets", "free on disk", CLI_OCTETS);
    print_line(status, "log_octets", "log on disk", CLI_OCTETS);
    print_line(status, "log_live_octets", "needed of it", CLI_OCTETS);
    print_line(status, "queued", "in the queue", CLI_PLAIN);
    if (json_integer_value(json_object_get(status, "next_due_ms")) > 0) {
        print_line(status, "next_due_ms", "next try", CLI_UNTIL);
    }
    print_line(status, "records_applied", "messages taken", CLI_PLAIN);
    print_line(status, "filed", "filed", CLI_PLAIN);
    print_line(status, "full_text_added", "indexed", CLI_PLAIN);
    print_line(status, "full_text_current", "index is current", CLI_PLAIN);
    putchar('\n');
    cli_print_table(roles, columns, COUNT_OF(columns), "The roles have not reported yet.");
}

int cli_status(const struct cli_input *input)
{
    json_t *roles = json_array();
    json_t *status = NULL;
    int code = control_once(input, "status", NULL, keep_row, roles, &status);
    if (code == EX_OK) {
        json_object_del(status, "done");
        if (input->json) {
            json_object_set(status, "roles", roles);
            cli_print_json(status);
        } else {
            print_status(status, roles);
        }
    }
    json_decref(roles);
    json_decref(status);
    return code;
}

/* Traces. */

static void print_step(const json_t *row)
{
    json_int_t ms = json_integer_value(json_object_get(row, "time_ms"));
    const char *event = json_string_value(json_object_get(row, "event"));
    const json_t *text = json_object_get(row, "text");
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    char when[40] = "";
    if (localtime_r(&seconds, &parts) != NULL) {
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &parts);
    }
    printf("  %s.%03d  %-10s ", when, (int)(ms % 1000), event == NULL ? "?" : event);
    cli_print_text(str_make(json_string_value(text), json_string_length(text)));
    putchar('\n');
}

static void print_journey(const struct cli_input *input, const json_t *rows)
{
    size_t index;
    const json_t *row;
    for (index = 0; index < json_array_size(rows); index++) {
        row = json_array_get(rows, index);
        if (input->json) {
            cli_print_json(row);
            continue;
        }
        if (index == 0) {
            printf("%s\n", json_string_value(json_object_get(row, "id")));
        }
        print_step(row);
    }
}

/* The messages that rows of a search speak of, newest first, each once. */
static json_t *ids_of(const json_t *rows, size_t max)
{
    json_t *ids = json_array();
    json_t *seen = json_object();
    for (size_t i = 0; i < json_array_size(rows) && json_array_size(ids) < max; i++) {
        const char *id = json_string_value(json_object_get(json_array_get(rows, i), "id"));
        if (id != NULL && json_object_get(seen, id) == NULL) {
            json_object_set_new(seen, id, json_true());
            json_array_append_new(ids, json_string(id));
        }
    }
    json_decref(seen);
    return ids;
}

static int trace_one(struct control *control, const struct cli_input *input, const char *id)
{
    json_t *rows = json_array();
    int code = control_call(control, "trace", json_pack("{s:s}", "what", id), keep_row, rows, NULL);
    if (code == EX_OK) {
        print_journey(input, rows);
    }
    json_decref(rows);
    return code;
}

static int trace_search(struct control *control, const struct cli_input *input, const char *what, size_t max)
{
    json_t *rows = json_array();
    json_t *done = NULL;
    int code = control_call(control, "trace", json_pack("{s:s,s:i}", "what", what, "limit", 1000), keep_row,
                            rows, &done);
    json_t *ids = ids_of(rows, max);
    for (size_t i = 0; i < json_array_size(ids) && code == EX_OK; i++) {
        if (i > 0 && !input->json) {
            putchar('\n');
        }
        code = trace_one(control, input, json_string_value(json_array_get(ids, i)));
    }
    if (code == EX_OK && json_is_true(json_object_get(done, "cut_short")) && !input->json) {
        puts("\nThe journal is long and the search was cut short: older messages may be missing. A message's "
             "id finds it at once.");
    }
    json_decref(ids);
    json_decref(rows);
    json_decref(done);
    return code;
}

int cli_trace(const struct cli_input *input)
{
    struct ident id;
    uint64_t max = MESSAGES_STANDARD;
    int code;
    if (!cli_option_number(input, "--messages", 1, MESSAGES_MAX, &max)) {
        return EX_USAGE;
    }
    struct control *control = control_open(input, &code);
    if (control == NULL) {
        return code;
    }
    const char *what = input->arguments[0];
    code = ident_parse(str_of(what), &id) ? trace_one(control, input, what)
                                          : trace_search(control, input, what, (size_t)max);
    control_close(control);
    return code;
}
