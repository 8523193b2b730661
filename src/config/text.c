/*
 * The text of the configuration before libconfuse sees it. libconfuse counts a comment's line twice, takes a section that is
 * not closed for whole, and lets a comment without an end swallow the rest of the file; so comments are blanked here, and
 * what is opened must be closed.
 */
#include "config/config_private.h"

enum { TEXT_MAX = 4 << 20, DEPTH_MAX = 8 };

struct scan {
    struct config_reader *reader;
    char *text; /* ours to change */
    size_t len;
    size_t at;
    unsigned line;
    size_t depth;
    char before;                    /* the last character that is not blank */
    unsigned open_lines[DEPTH_MAX]; /* of the brackets that are open */
};

static bool starts(const struct scan *s, struct str what)
{
    return str_starts(str_make(s->text + s->at, s->len - s->at), what);
}

/* Where libconfuse begins a new token; inside of one "//" is nothing special, as in a file's name. */
static bool at_token_start(const struct scan *s)
{
    static const char ends[] = " \t\r\n{}()=+,\"'";
    return s->at == 0 || memchr(ends, s->text[s->at - 1], sizeof(ends) - 1) != NULL;
}

static void blank_line(struct scan *s)
{
    while (s->at < s->len && s->text[s->at] != '\n') {
        s->text[s->at++] = ' ';
    }
}

static bool blank_comment(struct scan *s)
{
    unsigned first = s->line;
    size_t end = str_find_str(str_make(s->text + s->at + 2, s->len - s->at - 2), STR("*/"));
    if (end == SIZE_MAX) {
        config_complain(s->reader, first, "the comment that begins here does not end; close it with */");
        return false;
    }
    for (end += s->at + 4; s->at < end; s->at++) {
        s->line += s->text[s->at] == '\n';
        s->text[s->at] = s->text[s->at] == '\n' ? '\n' : ' ';
    }
    return true;
}

static bool skip_quoted(struct scan *s)
{
    char quote = s->text[s->at++];
    while (s->at < s->len && s->text[s->at] != '\n') {
        char c = s->text[s->at++];
        if (c == quote) {
            return true;
        }
        if (c == '\\' && s->at < s->len && s->text[s->at] != '\n') {
            s->at++;
        }
    }
    config_complain(s->reader, s->line, "the quote (%c) is not closed on this line", quote);
    return false;
}

static bool open_bracket(struct scan *s)
{
    if (s->depth == DEPTH_MAX) {
        config_complain(s->reader, s->line, "brackets are nested too deeply; is a } missing before it?");
        return false;
    }
    bool section = s->depth == 0 && s->before != '='; /* and no list */
    if (section && s->reader->section_count < CONFIG_SECTIONS_MAX) {
        s->reader->section_lines[s->reader->section_count++] = s->line;
    }
    s->open_lines[s->depth++] = s->line;
    s->at++;
    return true;
}

static bool close_bracket(struct scan *s)
{
    if (s->depth == 0) {
        config_complain(s->reader, s->line, "this } closes nothing; take it away, or write the { before it");
        return false;
    }
    s->depth--;
    s->at++;
    return true;
}

/* One character, quoted text or comment. False after a complaint. */
static bool scan_step(struct scan *s)
{
    char c = s->text[s->at];
    switch (c) {
    case '\n': s->line++; break;
    case '"':
    case '\'': return skip_quoted(s);
    case '{': return open_bracket(s);
    case '}': return close_bracket(s);
    case '#': blank_line(s); return true;
    case '/':
        if (at_token_start(s) && starts(s, STR("//"))) {
            blank_line(s);
            return true;
        }
        if (at_token_start(s) && starts(s, STR("/*"))) {
            return blank_comment(s);
        }
        break;
    default: break;
    }
    s->at++;
    return true;
}

static unsigned line_at(struct str text, size_t at)
{
    unsigned line = 1;
    for (size_t i = 0; i < at && i < text.len; i++) {
        line += text.data[i] == '\n';
    }
    return line;
}

/* Characters that no line may have. */
static bool check_bytes(struct config_reader *reader, struct str text)
{
    struct str rest = text;
    struct str line;
    for (unsigned number = 1; str_split(&rest, '\n', &line); number++) {
        if (memchr(line.data, '\0', line.len) != NULL) {
            config_complain(reader, number, "this line has a NUL character");
            return false;
        }
        if (!str_is_utf8(line)) {
            config_complain(reader, number, "this line is not UTF-8 text");
            return false;
        }
    }
    size_t variable = str_find_str(text, STR("${"));
    if (variable != SIZE_MAX) {
        config_complain(reader, line_at(text, variable),
                        "\"${\": variables of the environment are not expanded; write the value itself");
        return false;
    }
    return true;
}

bool config_prepare_text(struct config_reader *reader, struct str text, struct buf *out)
{
    *out = buf_make(TEXT_MAX + 1);
    if (text.len > TEXT_MAX) {
        config_complain(reader, 0, "the file is larger than %d bytes", TEXT_MAX);
        return false;
    }
    if (!buf_append_str(out, text) || !buf_append_char(out, '\0')) {
        config_complain(reader, 0, "the configuration does not fit into memory");
        return false;
    }
    if (!check_bytes(reader, text)) {
        return false;
    }
    struct scan s = {.reader = reader, .text = out->data, .len = text.len, .line = 1};
    if (starts(&s, STR("\xef\xbb\xbf"))) { /* what some editors put before UTF-8 */
        memset(s.text, ' ', 3);
    }
    while (s.at < s.len) {
        size_t at = s.at;
        if (!scan_step(&s)) {
            return false;
        }
        if (memchr(" \t\r\n", s.text[at], 4) == NULL) {
            s.before = s.text[at];
        }
    }
    if (s.depth > 0) {
        config_complain(reader, s.open_lines[s.depth - 1],
                        "the { of this line is not closed; a } is missing");
        return false;
    }
    return true;
}
