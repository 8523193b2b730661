/* Printing; see output.h. */
#include "cli/output.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CELL_MAX = 300, COLUMNS_MAX = 12, OUTPUT_MAX = 64 << 20, PROGRESS_MS = 2000 };

void cli_print_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
    if (text != NULL) {
        puts(text);
        free(text);
    }
}

void cli_print_error(bool json, int code, const char *message, const char *advice)
{
    fflush(stdout);
    if (!json) {
        /* A message of many lines is a list of errors of the configuration: each has its line. */
        struct buf safe = buf_make(OUTPUT_MAX);
        struct str rest = str_of(message);
        struct str line;
        for (bool first = true; str_split(&rest, '\n', &line); first = false) {
            buf_clear(&safe);
            buf_append_escaped(&safe, line, 8192);
            fprintf(stderr, "%s%.*s\n", first ? "veredus: " : "  ", STR_ARGS(buf_str(&safe)));
        }
        if (advice != NULL && advice[0] != '\0') {
            buf_clear(&safe);
            buf_append_escaped(&safe, str_of(advice), 8192);
            fprintf(stderr, "  %.*s\n", STR_ARGS(buf_str(&safe)));
        }
        buf_free(&safe);
        return;
    }
    json_t *error = json_pack("{s:{s:i,s:s,s:s}}", "error", "code", code, "message", message, "advice",
                              advice == NULL ? "" : advice);
    if (error == NULL) { /* the message was no UTF-8 */
        error = json_pack("{s:{s:i,s:s,s:s}}", "error", "code", code, "message", "the command failed",
                          "advice", "");
    }
    char *text = json_dumps(error, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (text != NULL) {
        fprintf(stderr, "%s\n", text);
        free(text);
    }
    json_decref(error);
}

void cli_print_text(struct str text)
{
    struct buf safe = buf_make(OUTPUT_MAX);
    buf_append_escaped(&safe, text, SIZE_MAX);
    fwrite(safe.data, 1, safe.len, stdout);
    buf_free(&safe);
}

size_t cli_columns(struct str text)
{
    size_t columns = 0;
    for (size_t i = 0; i < text.len; i++) {
        columns += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    }
    return columns;
}

void cli_print_folded(const char *text, unsigned indent, unsigned width)
{
    struct str rest = str_of(text);
    struct str paragraph;
    while (str_split(&rest, '\n', &paragraph)) {
        size_t column = 0;
        struct str word;
        while (str_split(&paragraph, ' ', &word)) {
            size_t columns = cli_columns(word);
            if (column > 0 && column + 1 + columns > width) {
                putchar('\n');
                column = 0;
            }
            if (column == 0) {
                printf("%*s", (int)indent, "");
                column = indent;
            } else {
                putchar(' ');
                column++;
            }
            printf("%.*s", STR_ARGS(word));
            column += columns;
        }
        putchar('\n');
    }
}

static void append_time(uint64_t wall_ms, struct buf *out)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    char text[40];
    if (localtime_r(&seconds, &parts) != NULL &&
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts) > 0) {
        buf_append_str(out, str_of(text));
    }
}

static void append_span(uint64_t ms, struct buf *out)
{
    unsigned long long s = ms / 1000;
    if (s < 60) {
        buf_printf(out, "%llus", s);
    } else if (s < 3600) {
        buf_printf(out, "%llum %02llus", s / 60, s % 60);
    } else if (s < 86400) {
        buf_printf(out, "%lluh %02llum", s / 3600, s / 60 % 60);
    } else {
        buf_printf(out, "%llud %02lluh", s / 86400, s / 3600 % 24);
    }
}

static void append_octets(uint64_t octets, struct buf *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    double value = (double)octets;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    if (unit == 0) {
        buf_printf(out, "%llu B", (unsigned long long)octets);
    } else {
        buf_printf(out, "%.1f %s", value, units[unit]);
    }
}

static void append_form(uint64_t number, int form, struct buf *out)
{
    uint64_t now = clock_wall_ms();
    switch (form) {
    case CLI_OCTETS: append_octets(number, out); break;
    case CLI_QUOTA:
        if (number == 0) {
            buf_append_lit(out, "none");
        } else {
            append_octets(number, out);
        }
        break;
    case CLI_TIME: append_time(number, out); break;
    case CLI_UNTIL:
        if (number <= now) {
            buf_append_lit(out, "now");
        } else {
            buf_append_lit(out, "in ");
            append_span(number - now, out);
        }
        break;
    default: buf_printf(out, "%llu", (unsigned long long)number); break;
    }
}

void cli_format_value(const json_t *value, int form, struct buf *out)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        buf_append_escaped(out, str_make(json_string_value(value), json_string_length(value)), CELL_MAX);
        break;
    case JSON_INTEGER:
        if (json_integer_value(value) < 0) {
            buf_append_char(out, '-');
        } else {
            append_form((uint64_t)json_integer_value(value), form, out);
        }
        break;
    case JSON_TRUE: buf_append_lit(out, "yes"); break;
    case JSON_FALSE: buf_append_lit(out, "no"); break;
    default: buf_append_char(out, '-'); break;
    }
}

static void format_cell(const json_t *row, const struct cli_column *column, struct buf *out)
{
    const json_t *value = json_object_get(row, column->member);
    buf_clear(out);
    if (value != NULL) {
        cli_format_value(value, column->form, out);
    }
    if (out->len == 0) {
        buf_append_char(out, '-');
    }
}

static void print_cell(struct str text, size_t width, bool right, bool last)
{
    size_t columns = cli_columns(text);
    int pad = (int)(columns < width ? width - columns : 0);
    if (right) {
        printf("%*s%.*s", pad, "", STR_ARGS(text));
    } else {
        printf("%.*s%*s", STR_ARGS(text), last ? 0 : pad, "");
    }
    fputs(last ? "\n" : "  ", stdout);
}

void cli_print_table(const json_t *rows, const struct cli_column *columns, size_t count, const char *empty)
{
    size_t widths[COLUMNS_MAX];
    struct buf cell = buf_make(4096);
    if (json_array_size(rows) == 0) {
        puts(empty);
        return;
    }
    count = count < COLUMNS_MAX ? count : COLUMNS_MAX;
    for (size_t c = 0; c < count; c++) {
        widths[c] = cli_columns(str_of(columns[c].title));
        for (size_t r = 0; r < json_array_size(rows); r++) {
            format_cell(json_array_get(rows, r), &columns[c], &cell);
            size_t width = cli_columns(buf_str(&cell));
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (size_t c = 0; c < count; c++) {
        print_cell(str_of(columns[c].title), widths[c], columns[c].right, c + 1 == count);
    }
    for (size_t r = 0; r < json_array_size(rows); r++) {
        for (size_t c = 0; c < count; c++) {
            format_cell(json_array_get(rows, r), &columns[c], &cell);
            print_cell(buf_str(&cell), widths[c], columns[c].right, c + 1 == count);
        }
    }
    buf_free(&cell);
}

bool cli_shows_progress(bool json, uint64_t *last_ms)
{
    uint64_t now = clock_monotonic_ms();
    if (json || !isatty(STDERR_FILENO) || now < *last_ms + PROGRESS_MS) {
        return false;
    }
    *last_ms = now;
    return true;
}
