/* Finding codes in text and saying in words what they mean; see codes.h. The rows stand in codes_table.c. */
#include "message/codes_table.h"

enum { NUMBER_MAX = 999, DIGITS_MAX = 3 };

const struct codes_words *codes_table(size_t *count)
{
    *count = codes_row_count;
    return codes_rows;
}

const struct codes_words *codes_reply(unsigned reply)
{
    for (size_t i = 0; reply != 0 && i < codes_row_count; i++) {
        if (codes_rows[i].reply == reply) {
            return &codes_rows[i];
        }
    }
    return NULL;
}

const struct codes_words *codes_enhanced(unsigned subject, unsigned detail)
{
    for (size_t i = 0; i < codes_row_count; i++) {
        const struct codes_words *row = &codes_rows[i];
        if (row->reply == 0 && row->subject == subject && row->detail == detail) {
            return row;
        }
    }
    return NULL;
}

/* A number of one to three digits at `at`; the digits read, 0 if there is none or it is longer. */
static size_t read_number(struct str text, size_t at, unsigned *number)
{
    size_t len = 0;
    unsigned value = 0;
    while (at + len < text.len && ascii_is_digit(text.data[at + len])) {
        if (len == DIGITS_MAX) {
            return 0;
        }
        value = value * 10 + (unsigned)(text.data[at + len] - '0');
        len++;
    }
    *number = value;
    return len;
}

/* Whether a number may end here: a version or an address goes on with a dot and a digit, a word with a letter. */
static bool number_ends(struct str text, size_t at)
{
    if (at >= text.len) {
        return true;
    }
    char c = text.data[at];
    if (c == '.' || c == '-' || c == ',') {
        return at + 1 >= text.len || c == '-' || !ascii_is_digit(text.data[at + 1]);
    }
    return !ascii_is_alnum(c) && c != '@' && c != '_' && (unsigned char)c < 0x80;
}

size_t codes_parse_enhanced(struct str text, unsigned *class, unsigned *subject, unsigned *detail)
{
    unsigned numbers[3] = {0, 0, 0};
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            if (at >= text.len || text.data[at] != '.') {
                return 0;
            }
            at++;
        }
        size_t len = read_number(text, at, &numbers[i]);
        if (len == 0) {
            return 0;
        }
        at += len;
    }
    if ((numbers[0] != 2 && numbers[0] != 4 && numbers[0] != 5) || text.data[1] != '.' ||
        !number_ends(text, at)) {
        return 0;
    }
    *class = numbers[0];
    *subject = numbers[1];
    *detail = numbers[2];
    return at;
}

/* A reply code at the beginning of text: three digits from 200 to 599, and then no further digit or letter. */
static bool parse_reply(struct str text, unsigned *reply)
{
    unsigned number = 0;
    if (read_number(text, 0, &number) != 3 || number < 200 || number > 599 || !number_ends(text, 3)) {
        return false;
    }
    *reply = number;
    return true;
}

static void set_enhanced(struct codes_found *found, unsigned class, unsigned subject, unsigned detail)
{
    found->has_enhanced = true;
    found->class = class;
    found->subject = subject;
    found->detail = detail;
    found->enhanced_words = codes_enhanced(subject, detail);
}

static void set_reply(struct codes_found *found, unsigned reply)
{
    found->reply = reply;
    found->reply_words = codes_reply(reply);
    if (!found->has_enhanced) {
        found->class = reply / 100;
    }
}

/* An enhanced code directly behind a reply code: "550 5.1.1", "550-5.1.1", "550 #5.1.1", "550 (5.1.1". */
static bool enhanced_behind(struct str text, size_t at, struct codes_found *found)
{
    enum { GAP_MAX = 3 };
    unsigned class = 0;
    unsigned subject = 0;
    unsigned detail = 0;
    for (size_t gap = 0; gap <= GAP_MAX && at + gap < text.len; gap++) {
        if (codes_parse_enhanced(str_from(text, at + gap), &class, &subject, &detail) > 0) {
            set_enhanced(found, class, subject, detail);
            return true;
        }
        if (ascii_is_alnum(text.data[at + gap])) {
            break;
        }
    }
    return false;
}

/* Whether a number may begin here. */
static bool number_begins(struct str text, size_t at)
{
    if (!ascii_is_digit(text.data[at])) {
        return false;
    }
    if (at == 0) {
        return true;
    }
    char before = text.data[at - 1];
    return !ascii_is_alnum(before) && before != '.' && before != '@' && before != '_' &&
           (unsigned char)before < 0x80;
}

/*
 * The best find wins: a known reply code with its enhanced one, then the first enhanced code, then a known reply code at the
 * beginning of a line or alone, then any known reply code.
 */
bool codes_find(struct str text, struct codes_found *found)
{
    *found = (struct codes_found){0};
    struct codes_found enhanced = {0};
    struct codes_found reply = {0};
    for (size_t at = 0; at < text.len; at++) {
        if (!number_begins(text, at)) {
            continue;
        }
        struct str rest = str_from(text, at);
        unsigned class = 0;
        unsigned subject = 0;
        unsigned detail = 0;
        unsigned code = 0;
        if (codes_parse_enhanced(rest, &class, &subject, &detail) > 0) {
            if (!enhanced.has_enhanced) {
                set_enhanced(&enhanced, class, subject, detail);
            }
        } else if (parse_reply(rest, &code)) {
            struct codes_found both = {0};
            if (enhanced_behind(text, at + 3, &both) && both.class == code / 100) {
                set_reply(&both, code);
                *found = both;
                return true;
            }
            bool whole = text.len == 3;
            if (reply.reply == 0 && (whole || codes_reply(code) != NULL)) {
                set_reply(&reply, code);
            }
        }
    }
    *found = enhanced.has_enhanced ? enhanced : reply;
    /* "550 mailbox gone (#5.1.1)": the two belong together when they agree. */
    if (enhanced.has_enhanced && reply.reply != 0 && reply.reply / 100 == enhanced.class) {
        set_reply(found, reply.reply);
    }
    return found->has_enhanced || found->reply != 0;
}

bool codes_make(unsigned reply, struct str enhanced, struct codes_found *found)
{
    *found = (struct codes_found){0};
    unsigned class = 0;
    unsigned subject = 0;
    unsigned detail = 0;
    if (codes_parse_enhanced(enhanced, &class, &subject, &detail) == enhanced.len && enhanced.len > 0) {
        set_enhanced(found, class, subject, detail);
    }
    if (reply >= 200 && reply <= 599) {
        set_reply(found, reply);
    }
    return found->has_enhanced || found->reply != 0;
}

const struct codes_words *codes_best(const struct codes_found *found)
{
    const struct codes_words *enhanced = found->enhanced_words;
    bool vague = enhanced == NULL || (enhanced->subject == 0 && enhanced->detail == 0);
    return vague && found->reply_words != NULL ? found->reply_words : enhanced;
}

enum codes_side codes_side_of(const struct codes_found *found)
{
    const struct codes_words *words = codes_best(found);
    if (words == NULL) {
        return CODES_SIDE_NOBODY;
    }
    /* X.3.Z tells of the system that found the fault; but X.3.4 is the size that the other one takes. */
    bool ours = found->own && words->side == CODES_SIDE_REMOTE && words->subject == 3 && words->detail != 4;
    return ours ? CODES_SIDE_US : (enum codes_side)words->side;
}

const char *codes_side_words(enum codes_side side)
{
    switch (side) {
    case CODES_SIDE_SENDER: return "the sender's side";
    case CODES_SIDE_RECIPIENT: return "the recipient's side";
    case CODES_SIDE_US: return "this server's side";
    case CODES_SIDE_REMOTE: return "the side of the server that answered";
    case CODES_SIDE_NETWORK: return "the network between the servers";
    default: return "nobody's side";
    }
}

bool codes_append_words(const struct codes_found *found, struct buf *out)
{
    const struct codes_words *words = codes_best(found);
    if (words == NULL) {
        buf_append_lit(out, "This code is not in the table; its first digit says how it went.");
    } else {
        buf_append_str(out, str_of(words->what));
        enum codes_side side = codes_side_of(found);
        if (side != CODES_SIDE_NOBODY) {
            buf_printf(out, " The cause lies on %s.", codes_side_words(side));
        }
    }
    switch (found->class) {
    case 4:
        buf_append_str(
            out,
            codes_side_of(found) == CODES_SIDE_US
                ? STR(" It is temporary: this server tries again by itself, but its administrator may have "
                      "to mend the cause.")
                : STR(" It is temporary: the sending server tries again by itself, nothing need be done "
                      "now."));
        break;
    case 5:
        buf_append_char(out, ' ');
        buf_append_str(
            out, str_of(words == NULL ? "It is permanent: trying again does not help." : words->action));
        break;
    default:
        buf_append_str(out, str_of(found->class == 2 ? " It worked." : " The conversation goes on."));
        break;
    }
    return buf_ok(out);
}
