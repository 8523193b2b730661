/* A strict reading of SMTP; see strict.h. */
#include "strict.h"

/* The offset of the first CRLF at or after `from`; the end if there is none. */
static size_t find_crlf(struct str s, size_t from)
{
    for (size_t i = from; i + 1 < s.len; i++) {
        if (s.data[i] == '\r' && s.data[i + 1] == '\n') {
            return i;
        }
    }
    return s.len;
}

static bool is_clean(struct str line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] == '\r' || line.data[i] == '\n' || line.data[i] == '\0') {
            return false;
        }
    }
    return true;
}

/* Reads data from `at`; returns the offset behind its end, or the input's end. */
static size_t read_data(struct strict *s, struct str input, size_t at)
{
    struct buf body = buf_make(1 << 20);
    bool clean = true;
    s->in_data = true;
    for (;;) {
        size_t end = find_crlf(input, at);
        if (end == input.len) {
            buf_free(&body);
            return input.len;
        }
        struct str line = str_sub(input, at, end);
        at = end + 2;
        if (str_equal(line, STR("."))) {
            break;
        }
        clean = clean && is_clean(line);
        buf_append_str(&body, line.len > 0 && line.data[0] == '.' ? str_from(line, 1) : line);
        buf_append_lit(&body, "\r\n");
    }
    s->in_data = false;
    if (clean) {
        s->messages++;
        buf_append_str(&s->bodies, buf_str(&body));
        buf_append_lit(&s->bodies, "\nEND\n");
    } else {
        s->refused++;
    }
    buf_free(&body);
    return at;
}

void strict_read(struct strict *s, struct str input)
{
    unsigned recipients = 0;
    bool sender = false;
    size_t at = 0;
    *s = (struct strict){.bodies = buf_make(1 << 20)};
    while (at < input.len && !s->closed) {
        size_t newline = str_find(input, at, '\n');
        if (newline == SIZE_MAX) {
            return;
        }
        size_t end = find_crlf(input, at);
        struct str line = str_sub(input, at, end);
        if (end == input.len || !is_clean(line)) {
            s->closed = true;
            return;
        }
        at = end + 2;
        if (str_starts(line, STR("MAIL FROM:<"))) {
            sender = true;
        } else if (str_starts(line, STR("RCPT TO:<"))) {
            recipients += sender;
        } else if (str_equal(line, STR("DATA")) && recipients > 0) {
            at = read_data(s, input, at);
            recipients = 0;
            sender = false;
        }
    }
}

void strict_free(struct strict *s)
{
    buf_free(&s->bodies);
}
