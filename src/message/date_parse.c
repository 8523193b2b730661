/* Reading dates of header fields; see date.h. */
#include "message/date.h"
#include "message/token.h"

enum { DATE_MAX = 512 }; /* bytes that are looked at */

struct fields {
    int year;
    int month; /* 1 to 12 */
    int day;
    int hour;
    int minute;
    int second;
    int zone;
    bool has_year;
    bool has_month;
    bool has_day;
    bool has_time;
    bool has_zone;
};

/* The next run of letters, of digits, or one other character; empty at the end. */
static struct str next_piece(struct str text, size_t *at)
{
    size_t i = token_skip_blank(text, *at);
    size_t start = i;
    if (i < text.len && ascii_is_digit(text.data[i])) {
        while (i < text.len && ascii_is_digit(text.data[i])) {
            i++;
        }
    } else if (i < text.len && ascii_is_alpha(text.data[i])) {
        while (i < text.len && ascii_is_alpha(text.data[i])) {
            i++;
        }
    } else if (i < text.len) {
        i++;
    }
    *at = i;
    return str_sub(text, start, i);
}

static bool number_of(struct str piece, int max, int *number)
{
    uint64_t value;
    if (!str_to_u64(piece, (uint64_t)max, &value)) {
        return false;
    }
    *number = (int)value;
    return true;
}

static int month_of(struct str word)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12 && word.len >= 3; i++) {
        if (str_equal_nocase(str_sub(word, 0, 3), str_make(names + i * 3, 3))) {
            return i + 1;
        }
    }
    return 0;
}

static bool is_weekday(struct str word)
{
    static const char names[] = "MonTueWedThuFriSatSun";
    for (int i = 0; i < 7 && word.len >= 2; i++) {
        struct str name = str_make(names + i * 3, 3);
        if (str_starts_nocase(word, str_sub(name, 0, word.len < 3 ? 2 : 3))) {
            return true;
        }
    }
    return false;
}

/* RFC 5322, section 4.3: two and three digits. */
static int full_year(int year, size_t digits)
{
    if (digits <= 2) {
        return year < 50 ? 2000 + year : 1900 + year;
    }
    return digits == 3 ? 1900 + year : year;
}

/* "hh:mm", "hh:mm:ss"; obsolete clocks write "hh.mm". `at` is behind the colon. */
static bool read_time(struct str text, size_t *at, int hour, struct fields *f)
{
    struct str minute = next_piece(text, at);
    if (hour > 24 || minute.len > 2 || !number_of(minute, 59, &f->minute)) {
        return false;
    }
    f->hour = hour;
    f->has_time = true;
    size_t after = *at;
    if (str_equal(next_piece(text, &after), STR(":"))) {
        struct str second = next_piece(text, &after);
        if (second.len <= 2 && number_of(second, 60, &f->second)) {
            *at = after;
        }
    }
    return true;
}

/* RFC 5322, section 4.3; a zone that nobody knows is UTC. */
static int named_zone(struct str word)
{
    static const struct {
        const char *name;
        int hours;
    } zones[] = {{"EDT", -4}, {"EST", -5},  {"CDT", -5},  {"CST", -6}, {"MDT", -6}, {"MST", -7},
                 {"PDT", -7}, {"PST", -8},  {"CET", 1},   {"MET", 1},  {"CEST", 2}, {"MEST", 2},
                 {"MESZ", 2}, {"MEZ", 1},   {"BST", 1},   {"EET", 2},  {"EEST", 3}, {"MSK", 3},
                 {"JST", 9},  {"HST", -10}, {"AKST", -9}, {"AKDT", -8}};
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
        if (str_equal_nocase(word, str_of(zones[i].name))) {
            return zones[i].hours * 60;
        }
    }
    return 0;
}

/* "+hhmm", "-hh:mm" or a name at *at, if there is one. */
static void read_zone(struct str text, size_t *at, struct fields *f)
{
    size_t end = *at;
    struct str piece = next_piece(text, &end);
    if (f->has_zone || piece.len == 0 ||
        (piece.data[0] != '+' && piece.data[0] != '-' && !ascii_is_alpha(piece.data[0]))) {
        return;
    }
    f->has_zone = true;
    if (ascii_is_alpha(piece.data[0])) {
        f->zone = named_zone(piece);
        *at = end;
        return;
    }
    struct str digits = next_piece(text, &end);
    *at = end;
    int value;
    if (digits.len <= 2) { /* "+02:00", "+2" */
        int minutes = 0;
        if (str_equal(next_piece(text, &end), STR(":"))) {
            number_of(next_piece(text, &end), 59, &minutes);
        }
        value = number_of(digits, 24, &value) ? value * 60 + minutes : 0;
    } else {
        bool valid = digits.len == 4 && number_of(digits, 2400, &value) && value % 100 < 60;
        value = valid ? value / 100 * 60 + value % 100 : 0;
    }
    f->zone = piece.data[0] == '-' ? -value : value;
}

/* A number of the date: the day first, then (if the month is a number too) the month, then the year. */
static bool take_number(struct str piece, struct fields *f)
{
    int number;
    if (piece.len > 4 || !number_of(piece, 9999, &number)) {
        return false;
    }
    if (piece.len == 4 && !f->has_year) {
        f->year = number;
        f->has_year = true;
    } else if (!f->has_day) {
        f->day = number;
        f->has_day = true;
    } else if (!f->has_month) {
        f->month = number;
        f->has_month = true;
    } else if (!f->has_year) {
        f->year = full_year(number, piece.len);
        f->has_year = true;
    } else {
        return false;
    }
    return true;
}

/* A number at *at, of a time or of the date; false if it is too much. */
static bool take_time_or_number(struct str text, struct str piece, size_t *at, struct fields *f)
{
    size_t after = *at;
    struct str next = next_piece(text, &after);
    int hour;
    if (f->has_time || piece.len > 2 || !(str_equal(next, STR(":")) || str_equal(next, STR("."))) ||
        !number_of(piece, 24, &hour)) {
        return take_number(piece, f);
    }
    *at = after;
    if (!read_time(text, at, hour, f)) {
        return false;
    }
    size_t zone_at = *at;
    struct str word = next_piece(text, &zone_at);
    if (month_of(word) == 0 || f->has_month) {
        read_zone(text, at, f);
    }
    return true;
}

/* Goes over the pieces until the date, its time and its zone are there, or something that belongs to none of them. */
static bool read_fields(struct str text, struct fields *f)
{
    size_t at = 0;
    while (!(f->has_day && f->has_month && f->has_year && f->has_time)) {
        struct str piece = next_piece(text, &at);
        if (piece.len == 0) {
            break;
        }
        if (ascii_is_digit(piece.data[0])) {
            if (!take_time_or_number(text, piece, &at, f)) {
                break;
            }
        } else if (ascii_is_alpha(piece.data[0]) && !f->has_month && month_of(piece) > 0) {
            f->month = month_of(piece);
            f->has_month = true;
        } else if (ascii_is_alpha(piece.data[0]) && !is_weekday(piece)) {
            break;
        }
    }
    read_zone(text, &at, f);
    return f->has_day && f->has_month && f->has_year;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01, counting years from March. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

bool date_parse(struct str value, struct date_parsed *parsed)
{
    struct fields f = {.year = 0};
    if (!read_fields(str_sub(value, 0, DATE_MAX), &f) || f.month < 1 || f.month > 12 || f.day < 1 ||
        f.day > days_in_month(f.year, f.month)) {
        return false;
    }
    int64_t seconds = days_of(f.year, f.month, f.day) * 86400 + f.hour * 3600 + f.minute * 60 + f.second;
    parsed->zone_minutes = f.zone;
    parsed->seconds = seconds - (int64_t)f.zone * 60;
    return true;
}
