/* Comparisons for the tests of the SMTP server engine; see talk.h. */
#include "talk.h"

static void compare(struct str got, struct str expected, const char *what, const char *file, int line)
{
    if (str_equal(got, expected)) {
        return;
    }
    char area[65536];
    struct buf text = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    buf_append_lit(&text, "got:      ");
    buf_append_escaped(&text, got, 30000);
    buf_append_lit(&text, "\n   expected: ");
    buf_append_escaped(&text, expected, 30000);
    print_error("%s:%d: %s\n   %.*s\n", file, line, what, STR_ARGS(buf_str(&text)));
    _fail(file, line);
}

void expect_out_at(struct driver *d, struct str expected, const char *file, int line)
{
    compare(buf_str(&d->out), expected, "replies differ", file, line);
    buf_clear(&d->out);
}

void expect_trace_at(struct driver *d, struct str expected, const char *file, int line)
{
    compare(buf_str(&d->trace), expected, "effects differ", file, line);
    buf_clear(&d->trace);
}

void expect_event_at(struct driver *d, const char *expected, const char *file, int line)
{
    compare(buf_str(&d->event_text), str_of(expected), "event differs", file, line);
    buf_clear(&d->event_text);
}

void greet(struct driver *d)
{
    bool lmtp = d->settings.kind == SMTP_KIND_LMTP;
    driver_feed(d, lmtp ? STR("LHLO client.example\r\n") : STR("EHLO client.example\r\n"));
    buf_clear(&d->out);
}

void open_logged_in(struct driver *d)
{
    driver_open(d, SMTP_KIND_SUBMISSION, true);
    greet(d);
    talk(d, "AUTH PLAIN AHVzZXIAc2VjcmV0", "235 2.7.0 Logged in\r\n");
    expect_trace(d, "LOGIN user\n");
}
