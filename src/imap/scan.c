/* The scanner of IMAP commands; see scan.h. */
#include "imap/scan.h"

struct imap_scan imap_scan_make(struct str text, struct arena *arena, bool utf8)
{
    return (struct imap_scan){.rest = text, .arena = arena, .why = "", .utf8 = utf8};
}

static bool fail(struct imap_scan *scan, const char *why)
{
    scan->why = why;
    return false;
}

bool imap_scan_end(const struct imap_scan *scan)
{
    return scan->rest.len == 0;
}

char imap_scan_peek(const struct imap_scan *scan)
{
    return scan->rest.len == 0 ? '\0' : scan->rest.data[0];
}

bool imap_scan_char(struct imap_scan *scan, char c)
{
    if (scan->rest.len == 0 || scan->rest.data[0] != c) {
        return fail(scan, c == '('   ? "an opening bracket"
                          : c == ')' ? "a closing bracket"
                                     : "another character");
    }
    scan->rest = str_from(scan->rest, 1);
    return true;
}

bool imap_scan_space(struct imap_scan *scan)
{
    return imap_scan_char(scan, ' ') || fail(scan, "a space");
}

/* Characters. */

static bool is_atom_char(char c)
{
    unsigned char u = (unsigned char)c;
    return u > 0x20 && u < 0x7f && c != '(' && c != ')' && c != '{' && c != '%' && c != '*' && c != '"' &&
           c != '\\' && c != ']';
}

static bool is_astring_char(char c)
{
    return is_atom_char(c) || c == ']';
}

static bool is_list_char(char c)
{
    return is_astring_char(c) || c == '%' || c == '*';
}

static bool is_tag_char(char c)
{
    return is_astring_char(c) && c != '+';
}

static bool is_set_char(char c)
{
    return ascii_is_digit(c) || c == ':' || c == ',' || c == '*';
}

/* Takes the longest run of such characters; false if there is none. */
static bool take_run(struct imap_scan *scan, bool (*is)(char c), struct str *run, const char *why)
{
    size_t len = 0;
    while (len < scan->rest.len && is(scan->rest.data[len])) {
        len++;
    }
    if (len == 0) {
        return fail(scan, why);
    }
    *run = str_sub(scan->rest, 0, len);
    scan->rest = str_from(scan->rest, len);
    return true;
}

bool imap_scan_word(struct imap_scan *scan, struct str word)
{
    if (!str_starts_nocase(scan->rest, word) ||
        (scan->rest.len > word.len && is_atom_char(scan->rest.data[word.len]) &&
         scan->rest.data[word.len] != '[')) {
        return fail(scan, "another word");
    }
    scan->rest = str_from(scan->rest, word.len);
    return true;
}

bool imap_scan_atom(struct imap_scan *scan, struct str *atom)
{
    return take_run(scan, is_atom_char, atom, "a word");
}

bool imap_scan_tag(struct imap_scan *scan, struct str *tag)
{
    return take_run(scan, is_tag_char, tag, "a tag");
}

bool imap_scan_set(struct imap_scan *scan, struct str *text)
{
    if (scan->rest.len > 0 && scan->rest.data[0] == '$') {
        *text = str_sub(scan->rest, 0, 1);
        scan->rest = str_from(scan->rest, 1);
        return true;
    }
    return take_run(scan, is_set_char, text, "a set of message numbers");
}

bool imap_scan_number(struct imap_scan *scan, uint64_t max, uint64_t *number)
{
    size_t len = 0;
    while (len < scan->rest.len && ascii_is_digit(scan->rest.data[len])) {
        len++;
    }
    if (!str_to_u64(str_sub(scan->rest, 0, len), max, number)) {
        return fail(scan, "a number");
    }
    scan->rest = str_from(scan->rest, len);
    return true;
}

/* Strings. */

/* Behind the opening quote: the length up to the closing one; SIZE_MAX if the string is not whole or not allowed. */
static size_t quoted_length(const struct imap_scan *scan, size_t *escapes)
{
    struct str s = scan->rest;
    size_t at = 1;
    *escapes = 0;
    while (at < s.len && s.data[at] != '"') {
        if (s.data[at] == '\\') {
            at++;
            ++*escapes;
            if (at >= s.len || (s.data[at] != '"' && s.data[at] != '\\')) {
                return SIZE_MAX;
            }
        } else if (s.data[at] == '\r' || s.data[at] == '\n' || s.data[at] == '\0') {
            return SIZE_MAX;
        }
        at++;
    }
    return at < s.len ? at - 1 : SIZE_MAX;
}

static bool unescape(struct imap_scan *scan, struct str raw, struct str *text)
{
    char *room = arena_alloc(scan->arena, raw.len + 1);
    if (room == NULL) {
        return fail(scan, "a shorter string");
    }
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.data[i] == '\\') {
            i++;
        }
        room[len++] = raw.data[i];
    }
    *text = str_make(room, len);
    return true;
}

static bool scan_quoted(struct imap_scan *scan, struct str *text)
{
    size_t escapes;
    size_t len = quoted_length(scan, &escapes);
    if (len == SIZE_MAX) {
        return fail(scan, "a quoted string with its closing quote");
    }
    struct str raw = str_sub(scan->rest, 1, 1 + len);
    if (!str_is_ascii(raw) && (!scan->utf8 || !str_is_utf8(raw))) {
        return fail(scan, "a quoted string in ASCII (a literal, or ENABLE UTF8=ACCEPT, takes more)");
    }
    if (escapes > 0 && !unescape(scan, raw, text)) {
        return false;
    }
    if (escapes == 0) {
        *text = raw;
    }
    scan->rest = str_from(scan->rest, len + 2);
    return true;
}

static bool scan_literal(struct imap_scan *scan, struct str *text)
{
    size_t end = str_find(scan->rest, 0, '\n');
    uint64_t size;
    bool waits;
    if (end == SIZE_MAX || end == 0 ||
        !imap_scan_literal_end(str_sub(scan->rest, 0, end - 1), &size, &waits) ||
        size > scan->rest.len - end - 1) {
        return fail(scan, "a literal");
    }
    *text = str_sub(scan->rest, end + 1, end + 1 + (size_t)size);
    scan->rest = str_from(scan->rest, end + 1 + (size_t)size);
    return true;
}

bool imap_scan_string(struct imap_scan *scan, struct str *text, bool *binary)
{
    char c = imap_scan_peek(scan);
    if (binary != NULL) {
        *binary = c == '~';
    }
    if (c == '"') {
        return scan_quoted(scan, text);
    }
    if (c == '~' && binary != NULL) {
        struct imap_scan behind = *scan;
        behind.rest = str_from(behind.rest, 1);
        bool fine = imap_scan_peek(&behind) == '{' && scan_literal(&behind, text);
        scan->rest = fine ? behind.rest : scan->rest;
        return fine || fail(scan, "a literal");
    }
    if (c == '{' && scan_literal(scan, text)) {
        /* NUL is for literal8 alone (RFC 3516, section 4). */
        return str_find(*text, 0, '\0') == SIZE_MAX || binary != NULL || fail(scan, "a literal without NUL");
    }
    return fail(scan, "a string");
}

bool imap_scan_astring(struct imap_scan *scan, struct str *text)
{
    char c = imap_scan_peek(scan);
    if (c == '"' || c == '{') {
        return imap_scan_string(scan, text, NULL);
    }
    return take_run(scan, is_astring_char, text, "a word or a string");
}

bool imap_scan_nstring(struct imap_scan *scan, struct str *text, bool *is_nil)
{
    *is_nil = imap_scan_word(scan, STR("NIL"));
    if (*is_nil) {
        *text = STR_EMPTY;
        return true;
    }
    return imap_scan_string(scan, text, NULL);
}

bool imap_scan_pattern(struct imap_scan *scan, struct str *text)
{
    char c = imap_scan_peek(scan);
    if (c == '"' || c == '{') {
        return imap_scan_string(scan, text, NULL);
    }
    return take_run(scan, is_list_char, text, "a pattern of mailbox names");
}

bool imap_scan_literal_end(struct str line, uint64_t *size, bool *waits)
{
    if (line.len < 3 || line.data[line.len - 1] != '}') {
        return false;
    }
    size_t end = line.len - 1;
    *waits = line.data[end - 1] != '+';
    if (!*waits) {
        end--;
    }
    size_t open = str_find_last(str_sub(line, 0, end), '{');
    return open != SIZE_MAX && end - open <= 20 && str_to_u64(str_sub(line, open + 1, end), INT64_MAX, size);
}

/* Dates. */

static const char months[12][4] = {"jan", "feb", "mar", "apr", "may", "jun",
                                   "jul", "aug", "sep", "oct", "nov", "dec"};

/* Days since 1970-01-01 in the Gregorian calendar. */
static int64_t days_of(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* "dd-Mmm-yyyy", the day with one or two digits or a space before one. Returns its length, 0 if it is none. */
static size_t parse_date(struct str s, int64_t *days)
{
    static const unsigned lengths[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    size_t dash = str_find(str_sub(s, 0, 3), 0, '-');
    uint64_t day;
    uint64_t year;
    unsigned month = 0;
    if (dash == SIZE_MAX || s.len < dash + 9 || s.data[dash + 4] != '-' ||
        !str_to_u64(str_trim(str_sub(s, 0, dash)), 31, &day) ||
        !str_to_u64(str_sub(s, dash + 5, dash + 9), 9999, &year)) {
        return 0;
    }
    while (month < 12 && !str_equal_nocase(str_sub(s, dash + 1, dash + 4), str_make(months[month], 3))) {
        month++;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 12 || day == 0 || day > lengths[month] || (month == 1 && day == 29 && !leap)) {
        return 0;
    }
    *days = days_of((int64_t)year, month + 1, (unsigned)day);
    return dash + 9;
}

bool imap_scan_date(struct imap_scan *scan, int64_t *days)
{
    bool quoted = imap_scan_peek(scan) == '"';
    struct str s = str_from(scan->rest, quoted ? 1 : 0);
    size_t len = parse_date(s, days);
    if (len == 0 || (quoted && (s.len <= len || s.data[len] != '"'))) {
        return fail(scan, "a date like 7-Nov-2026");
    }
    scan->rest = str_from(s, len + (quoted ? 1 : 0));
    return true;
}

static bool two_digits(struct str s, size_t at, unsigned max, int64_t *value)
{
    uint64_t number;
    bool fine = str_to_u64(str_sub(s, at, at + 2), max, &number) && s.len >= at + 2;
    *value = fine ? (int64_t)number : 0;
    return fine;
}

/* Behind the date: " hh:mm:ss +zzzz" and the closing quote. */
static bool parse_time(struct str s, int64_t *seconds)
{
    int64_t hour;
    int64_t minute;
    int64_t second;
    int64_t zone_hour;
    int64_t zone_minute;
    if (s.len < 16 || s.data[0] != ' ' || s.data[3] != ':' || s.data[6] != ':' || s.data[9] != ' ' ||
        s.data[15] != '"' || (s.data[10] != '+' && s.data[10] != '-') || !two_digits(s, 1, 23, &hour) ||
        !two_digits(s, 4, 59, &minute) || !two_digits(s, 7, 60, &second) ||
        !two_digits(s, 11, 99, &zone_hour) || !two_digits(s, 13, 59, &zone_minute)) {
        return false;
    }
    int64_t zone = (zone_hour * 60 + zone_minute) * 60;
    *seconds = hour * 3600 + minute * 60 + second - (s.data[10] == '-' ? -zone : zone);
    return true;
}

bool imap_scan_date_time(struct imap_scan *scan, uint64_t *wall_ms)
{
    struct str s = str_from(scan->rest, 1);
    int64_t days;
    int64_t seconds;
    size_t len = imap_scan_peek(scan) == '"' ? parse_date(s, &days) : 0;
    if (len == 0 || !parse_time(str_from(s, len), &seconds)) {
        return fail(scan, "a date and time like \"07-Nov-2026 09:30:00 +0100\"");
    }
    int64_t at = days * 86400 + seconds;
    *wall_ms = at < 0 ? 0 : (uint64_t)at * 1000;
    scan->rest = str_from(s, len + 16);
    return true;
}
