/* Wrong doors; see doors.h. */
#include "config/doors.h"

static unsigned port_of(const struct config *config, enum listener_kind kind, enum listener_tls tls)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        if (config->listeners[i].kind == kind && config->listeners[i].tls == tls) {
            return config->listeners[i].port;
        }
    }
    return 0;
}

struct doors doors_of(const struct config *config)
{
    return (struct doors){.submission = port_of(config, LISTENER_SUBMISSION, LISTENER_TLS_STARTTLS),
                          .submissions = port_of(config, LISTENER_SUBMISSION, LISTENER_TLS_IMPLICIT),
                          .imap = port_of(config, LISTENER_IMAP, LISTENER_TLS_STARTTLS),
                          .imaps = port_of(config, LISTENER_IMAP, LISTENER_TLS_IMPLICIT),
                          .pop3 = port_of(config, LISTENER_POP3, LISTENER_TLS_STARTTLS),
                          .pop3s = port_of(config, LISTENER_POP3, LISTENER_TLS_IMPLICIT)};
}

bool door_is_tls(struct str octets)
{
    return octets.len >= 2 && octets.data[0] == 0x16 && octets.data[1] == 0x03;
}

static const char *name_of(enum door door)
{
    static const char *const names[] = {"another protocol", "SMTP", "IMAP", "POP3", "HTTP"};
    return names[door];
}

/* An IMAP client's first word is a tag, so there the second one tells. */
enum door door_of_line(struct str line)
{
    static const struct {
        const char *word;
        enum door door;
    } words[] = {{"GET", DOOR_HTTP},     {"POST", DOOR_HTTP}, {"HEAD", DOOR_HTTP},    {"PUT", DOOR_HTTP},
                 {"OPTIONS", DOOR_HTTP}, {"PRI", DOOR_HTTP},  {"CONNECT", DOOR_HTTP}, {"EHLO", DOOR_SMTP},
                 {"HELO", DOOR_SMTP},    {"LHLO", DOOR_SMTP}, {"MAIL", DOOR_SMTP},    {"USER", DOOR_POP3},
                 {"APOP", DOOR_POP3},    {"CAPA", DOOR_POP3}, {"STLS", DOOR_POP3}};
    static const char *const commands[] = {"CAPABILITY",   "LOGIN",  "ID",  "STARTTLS",
                                           "AUTHENTICATE", "LOGOUT", "NOOP"};
    struct str rest = str_trim(line);
    struct str first;
    struct str second;
    if (!str_split(&rest, ' ', &first)) {
        return DOOR_NONE;
    }
    if (str_split(&rest, ' ', &second)) {
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
            if (str_equal_nocase(second, str_of(commands[i]))) {
                return DOOR_IMAP;
            }
        }
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_equal_nocase(first, str_of(words[i].word))) {
            return words[i].door;
        }
    }
    return DOOR_NONE;
}

static void ports_of(const struct doors *doors, enum door door, unsigned *in_clear, unsigned *with_tls)
{
    *in_clear = door == DOOR_SMTP   ? doors->submission
                : door == DOOR_IMAP ? doors->imap
                : door == DOOR_POP3 ? doors->pop3
                                    : 0;
    *with_tls = door == DOOR_SMTP   ? doors->submissions
                : door == DOOR_IMAP ? doors->imaps
                : door == DOOR_POP3 ? doors->pop3s
                                    : 0;
}

void doors_append(const struct doors *doors, enum door door, struct buf *out)
{
    unsigned in_clear;
    unsigned with_tls;
    ports_of(doors, door, &in_clear, &with_tls);
    if (in_clear != 0) {
        buf_printf(out, "port %u with %s", in_clear, door == DOOR_POP3 ? "STLS" : "STARTTLS");
    }
    if (with_tls != 0) {
        buf_printf(out, "%sport %u with TLS from the first byte", in_clear != 0 ? " or " : "", with_tls);
    }
    if (in_clear == 0 && with_tls == 0) {
        buf_append_lit(out, "no port of this server");
    }
}

void doors_append_wrong(const struct doors *doors, enum door here, enum door spoken, struct buf *out)
{
    buf_printf(out, "This port speaks %s, and %s was spoken; ", name_of(here), name_of(spoken));
    if (spoken == DOOR_HTTP) {
        buf_append_lit(out, "this is a mail server, not a web server");
    } else {
        buf_append_str(out, spoken == DOOR_SMTP ? STR("mail is submitted at ") : STR("that is at "));
        doors_append(doors, spoken, out);
    }
}

void doors_append_tls(const struct doors *doors, enum door here, struct buf *out)
{
    unsigned in_clear;
    unsigned with_tls;
    ports_of(doors, here, &in_clear, &with_tls);
    buf_printf(out, "TLS was begun on a port that speaks %s in clear first; use %s here", name_of(here),
               here == DOOR_POP3 ? "STLS" : "STARTTLS");
    if (with_tls != 0) {
        buf_printf(out, ", or port %u with TLS", with_tls);
    }
}

void doors_append_clear(const struct doors *doors, enum door here, struct buf *out)
{
    unsigned in_clear;
    unsigned with_tls;
    ports_of(doors, here, &in_clear, &with_tls);
    buf_printf(out, "This port speaks %s in TLS from the first byte, and something in clear was sent",
               name_of(here));
    if (in_clear != 0) {
        buf_printf(out, "; %s is at port %u", here == DOOR_POP3 ? "STLS" : "STARTTLS", in_clear);
    }
}
