/* Dates of header fields; see date.h. */
#include "message/date.h"

struct civil {
    int64_t year;
    unsigned month; /* 1 to 12 */
    unsigned day;
};

/* Days since 1970-01-01 to a date of the Gregorian calendar, counting years from March. */
static struct civil civil_of(int64_t days)
{
    int64_t shifted = days + 719468; /* days since 0000-03-01 */
    int64_t era = shifted / 146097;
    unsigned day_of_era = (unsigned)(shifted - era * 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return (struct civil){.year = era * 400 + year_of_era + (month <= 2),
                          .month = month,
                          .day = day_of_year - (153 * month_from_march + 2) / 5 + 1};
}

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* A wall-clock time taken apart. */
struct moment {
    struct civil date;
    unsigned weekday; /* 0: Thursday */
    unsigned second;  /* of the day */
};

static struct moment moment_of(uint64_t wall_ms)
{
    uint64_t seconds = wall_ms / 1000;
    if (seconds > 253402300799) { /* the end of the year 9999: a clock cannot mean more */
        seconds = 253402300799;
    }
    return (struct moment){.date = civil_of((int64_t)(seconds / 86400)),
                           .weekday = (unsigned)(seconds / 86400 % 7),
                           .second = (unsigned)(seconds % 86400)};
}

bool date_append(uint64_t wall_ms, struct buf *out)
{
    static const char weekdays[] = "ThuFriSatSunMonTueWed";
    struct moment m = moment_of(wall_ms);
    return buf_printf(out, "%.3s, %u %.3s %lld %02u:%02u:%02u +0000", weekdays + (size_t)m.weekday * 3,
                      m.date.day, months + (size_t)(m.date.month - 1) * 3, (long long)m.date.year,
                      m.second / 3600, m.second / 60 % 60, m.second % 60);
}

/* Two digits, the first of them a blank instead of a zero if `blank`. */
static void put_two(char *at, unsigned number, bool blank)
{
    at[0] = (char)(blank && number < 10 ? ' ' : '0' + number / 10 % 10);
    at[1] = (char)('0' + number % 10);
}

/* Without printf: a listing of a mailbox has as many dates as messages. */
bool date_append_imap(uint64_t wall_ms, struct buf *out)
{
    struct moment m = moment_of(wall_ms);
    char text[] = "dd-Mon-yyyy hh:mm:ss +0000";
    unsigned year = (unsigned)m.date.year;
    put_two(text, m.date.day, true);
    memcpy(text + 3, months + (size_t)(m.date.month - 1) * 3, 3);
    put_two(text + 7, year / 100, false);
    put_two(text + 9, year % 100, false);
    put_two(text + 12, m.second / 3600, false);
    put_two(text + 15, m.second / 60 % 60, false);
    put_two(text + 18, m.second % 60, false);
    return buf_append(out, text, sizeof(text) - 1);
}
