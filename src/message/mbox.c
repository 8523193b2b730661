/* Mbox files; see mbox.h. */
#include "message/mbox.h"

#include <time.h>

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char days[] = "SunMonTueWedThuFriSat";

/* Index of a three-letter name in a table of such; -1 if it is none. */
static int name_index(struct str word, const char *table, int count)
{
    for (int i = 0; word.len == 3 && i < count; i++) {
        if (str_equal_nocase(word, str_make(table + (size_t)i * 3, 3))) {
            return i;
        }
    }
    return -1;
}

static bool take_clock(struct str word, struct tm *tm)
{
    uint64_t parts[3] = {0, 0, 0};
    size_t count = 0;
    struct str rest = word;
    struct str part;
    while (count < 3 && str_split(&rest, ':', &part)) {
        if (part.len > 2 || !str_to_u64(part, 60, &parts[count++])) {
            return false;
        }
    }
    tm->tm_hour = (int)parts[0];
    tm->tm_min = (int)parts[1];
    tm->tm_sec = (int)parts[2];
    return count >= 2 && rest.data == NULL && parts[0] < 24;
}

/* The words of a line, at most `max`; more are not counted. */
static size_t split_words(struct str line, struct str *words, size_t max)
{
    size_t count = 0;
    struct str word;
    while (count < max && str_split(&line, ' ', &word)) {
        if (word.len > 0) {
            words[count++] = word;
        }
    }
    return count;
}

/* "Thu Nov 26 09:05:01 2026", with a zone before or behind the year in some; the address may have spaces in it. */
static bool take_date(const struct str *words, size_t count, int64_t *seconds)
{
    struct tm tm = {.tm_isdst = 0};
    uint64_t day;
    uint64_t year = 0;
    if (count < 5 || name_index(words[0], days, 7) < 0 ||
        (tm.tm_mon = name_index(words[1], months, 12)) < 0 || !str_to_u64(words[2], 31, &day) ||
        !take_clock(words[3], &tm)) {
        return false;
    }
    bool fine = (words[4].len == 4 && str_to_u64(words[4], 9999, &year)) ||
                (count > 5 && words[5].len == 4 && str_to_u64(words[5], 9999, &year));
    tm.tm_mday = (int)day;
    tm.tm_year = (int)year - 1900;
    *seconds = fine ? (int64_t)timegm(&tm) : 0;
    return fine;
}

static struct str without_ending(struct str line)
{
    while (line.len > 0 && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == '\r')) {
        line.len--;
    }
    return line;
}

bool mbox_is_from(struct str line, int64_t *seconds)
{
    struct str words[16];
    *seconds = 0;
    if (!str_starts(line, STR("From "))) {
        return false;
    }
    size_t count = split_words(str_from(without_ending(line), 5), words, 16);
    for (size_t i = 0; i + 5 <= count; i++) {
        if (take_date(words + i, count - i, seconds)) {
            return true;
        }
    }
    return false;
}

bool mbox_needs_quote(struct str line)
{
    size_t at = 0;
    while (at < line.len && line.data[at] == '>') {
        at++;
    }
    return str_starts(str_from(line, at), STR("From "));
}

struct str mbox_unquote(struct str line)
{
    return line.len > 0 && line.data[0] == '>' && mbox_needs_quote(line) ? str_from(line, 1) : line;
}

/* Fields. */

static void take_letters(struct str value, struct mbox_marks *m)
{
    static const struct {
        char letter;
        unsigned mark;
    } letters[] = {
        {'R', MBOX_SEEN}, {'A', MBOX_ANSWERED}, {'F', MBOX_FLAGGED}, {'D', MBOX_DELETED}, {'T', MBOX_DRAFT}};
    for (size_t i = 0; i < value.len; i++) {
        for (size_t k = 0; k < sizeof(letters) / sizeof(letters[0]); k++) {
            m->marks |= value.data[i] == letters[k].letter ? letters[k].mark : 0;
        }
    }
}

static void take_words(struct str value, struct mbox_marks *m)
{
    struct str word;
    while (str_split(&value, ' ', &word)) {
        if (word.len > 0 && word.len < 200) {
            buf_append_str(&m->keywords, word);
            buf_append_char(&m->keywords, ' ');
        }
    }
}

static void take_uid(struct str value, struct mbox_marks *m)
{
    uint64_t number;
    if (str_to_u64(value, UINT32_MAX - 1, &number)) {
        m->uid = (uint32_t)number;
    }
}

/* "UIDVALIDITY LAST-UID keyword keyword" */
static void take_base(struct str value, struct mbox_marks *m)
{
    struct str words[2];
    uint64_t validity;
    uint64_t last;
    if (split_words(value, words, 2) == 2 && str_to_u64(words[0], UINT32_MAX - 1, &validity) &&
        str_to_u64(words[1], UINT32_MAX - 1, &last)) {
        m->uid_validity = (uint32_t)validity;
        m->uid_last = (uint32_t)last;
    }
}

static void take_internal(struct str value, struct mbox_marks *m)
{
    m->internal = true;
    take_base(value, m);
}

static void take_mozilla(struct str value, struct mbox_marks *m)
{
    unsigned bits = 0;
    for (size_t i = 0; i < value.len && i < 4; i++) {
        int digit = ascii_hex_value(value.data[i]);
        bits = bits << 4 | (digit < 0 ? 0U : (unsigned)digit);
    }
    m->marks |= ((bits & 1) != 0 ? MBOX_SEEN : 0U) | ((bits & 2) != 0 ? MBOX_ANSWERED : 0U) |
                ((bits & 4) != 0 ? MBOX_FLAGGED : 0U) | ((bits & 8) != 0 ? MBOX_DELETED : 0U);
    if ((bits & 0x1000) != 0) {
        take_words(STR("$Forwarded"), m);
    }
}

static void take_nothing(struct str value, struct mbox_marks *m)
{
    (void)value;
    (void)m;
}

static const struct {
    struct str name;
    void (*take)(struct str value, struct mbox_marks *marks);
} fields[] = {{{"Status", 6}, take_letters},
              {{"X-Status", 8}, take_letters},
              {{"X-Keywords", 10}, take_words},
              {{"X-UID", 5}, take_uid},
              {{"X-IMAPbase", 10}, take_base},
              {{"X-IMAP", 6}, take_internal},
              {{"Content-Length", 14}, take_nothing},
              {{"X-Mozilla-Status", 16}, take_mozilla},
              {{"X-Mozilla-Status2", 17}, take_nothing},
              {{"X-Mozilla-Keys", 14}, take_words}};

bool mbox_take_field(struct str line, struct mbox_marks *marks)
{
    size_t colon = str_find(line, 0, ':');
    struct str name = str_trim(str_sub(line, 0, colon));
    for (size_t i = 0; colon != SIZE_MAX && i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (str_equal_nocase(name, fields[i].name)) {
            fields[i].take(str_trim(without_ending(str_from(line, colon + 1))), marks);
            return true;
        }
    }
    return false;
}

void mbox_append_date(int64_t seconds, struct buf *out)
{
    time_t when = (time_t)seconds;
    struct tm tm;
    if (gmtime_r(&when, &tm) == NULL) {
        when = 0;
        gmtime_r(&when, &tm);
    }
    buf_printf(out, "%.3s %.3s %2d %02d:%02d:%02d %d", days + (size_t)tm.tm_wday * 3,
               months + (size_t)tm.tm_mon * 3, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
               tm.tm_year + 1900);
}
