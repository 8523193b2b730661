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

bool date_append(uint64_t wall_ms, struct buf *out)
{
    static const char weekdays[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t seconds = wall_ms / 1000;
    if (seconds > 253402300799) { /* the end of the year 9999: a clock cannot mean more */
        seconds = 253402300799;
    }
    struct civil date = civil_of((int64_t)(seconds / 86400));
    unsigned rest = (unsigned)(seconds % 86400);
    return buf_printf(out, "%.3s, %u %.3s %lld %02u:%02u:%02u +0000", weekdays + seconds / 86400 % 7 * 3, date.day,
                      months + (size_t)(date.month - 1) * 3, (long long)date.year, rest / 3600, rest / 60 % 60,
                      rest % 60);
}
