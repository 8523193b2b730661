/* Local parts that look alike; see lookalike.h. */
#include "message/lookalike.h"

#include "message/charset.h"

#include <utf8proc.h>

enum { CHARACTERS_MAX = 1024 };

/* Letters of other scripts, and of phonetic alphabets, that look like a small Latin letter or a digit; in order. */
static const struct {
    uint16_t character;
    char latin;
} alike[] = {
    {0x131, 'i'},   {0x251, 'a'},   {0x261, 'g'},  {0x262, 'g'},  {0x269, 'i'},  {0x26a, 'i'},  {0x274, 'n'},
    {0x28b, 'u'},   {0x28f, 'y'},   {0x29f, 'l'},  {0x2c0, '\''}, {0x3b1, 'a'},  {0x3b3, 'y'},  {0x3b7, 'n'},
    {0x3b9, 'i'},   {0x3ba, 'k'},   {0x3bd, 'v'},  {0x3bf, 'o'},  {0x3c1, 'p'},  {0x3c3, 'o'},  {0x3c4, 't'},
    {0x3c5, 'u'},   {0x3c7, 'x'},   {0x3c9, 'w'},  {0x3f2, 'c'},  {0x3f3, 'j'},  {0x430, 'a'},  {0x432, 'b'},
    {0x433, 'r'},   {0x435, 'e'},   {0x438, 'u'},  {0x43a, 'k'},  {0x43c, 'm'},  {0x43d, 'h'},  {0x43e, 'o'},
    {0x43f, 'n'},   {0x440, 'p'},   {0x441, 'c'},  {0x442, 't'},  {0x443, 'y'},  {0x445, 'x'},  {0x44c, 'b'},
    {0x455, 's'},   {0x456, 'i'},   {0x458, 'j'},  {0x45d, 'u'},  {0x461, 'w'},  {0x475, 'v'},  {0x4bb, 'h'},
    {0x4bd, 'e'},   {0x4cf, 'l'},   {0x501, 'd'},  {0x511, 'e'},  {0x51b, 'q'},  {0x51d, 'w'},  {0x561, 'w'},
    {0x563, 'q'},   {0x566, 'q'},   {0x570, 'h'},  {0x575, 'j'},  {0x578, 'n'},  {0x57c, 'n'},  {0x57d, 'u'},
    {0x581, 'g'},   {0x584, 'f'},   {0x585, 'o'},  {0x5d5, 'l'},  {0x5d8, 'v'},  {0x5e1, 'o'},  {0x647, 'o'},
    {0x665, 'o'},   {0x6f5, 'o'},   {0x966, 'o'},  {0xd20, 'o'},  {0x13a5, 'i'}, {0x13aa, 'a'}, {0x13af, 'h'},
    {0x13b3, 'w'},  {0x13c0, 'g'},  {0x13c3, 'z'}, {0x13cf, 'b'}, {0x13da, 's'}, {0x13de, 'l'}, {0x13df, 'c'},
    {0x13e2, 'p'},  {0x13e6, 'k'},  {0x1d00, 'a'}, {0x1d04, 'c'}, {0x1d05, 'd'}, {0x1d07, 'e'}, {0x1d0a, 'j'},
    {0x1d0b, 'k'},  {0x1d0d, 'm'},  {0x1d0f, 'o'}, {0x1d18, 'p'}, {0x1d1b, 't'}, {0x1d1c, 'u'}, {0x1d20, 'v'},
    {0x1d21, 'w'},  {0x1d22, 'z'},  {0x2010, '-'}, {0x2011, '-'}, {0x2012, '-'}, {0x2013, '-'}, {0x2014, '-'},
    {0x2018, '\''}, {0x2019, '\''}, {0x2024, '.'}, {0x2044, '/'}, {0x2212, '-'}, {0x2c9f, 'o'}, {0x2ca3, 'p'},
    {0x2ca5, 'c'},  {0xa731, 's'},
};

static int32_t latin_of(int32_t character)
{
    size_t low = 0;
    size_t high = sizeof(alike) / sizeof(alike[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (alike[middle].character < character) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < sizeof(alike) / sizeof(alike[0]) && alike[low].character == character ? alike[low].latin
                                                                                       : character;
}

/* Scripts whose letters are mistaken for each other. Others (Han, kana, Arabic ...) may stand beside Latin, as people write. */
enum script {
    SCRIPT_OTHER,
    SCRIPT_LATIN,
    SCRIPT_GREEK,
    SCRIPT_CYRILLIC,
    SCRIPT_ARMENIAN,
    SCRIPT_CHEROKEE,
    SCRIPT_COPTIC
};

static enum script script_of(int32_t c)
{
    static const struct {
        int32_t first;
        int32_t last;
        enum script script;
    } ranges[] = {{'A', 'Z', SCRIPT_LATIN},          {'a', 'z', SCRIPT_LATIN},
                  {0xc0, 0xd6, SCRIPT_LATIN},        {0xd8, 0xf6, SCRIPT_LATIN},
                  {0xf8, 0x2af, SCRIPT_LATIN},       {0x370, 0x3e1, SCRIPT_GREEK},
                  {0x3e2, 0x3ef, SCRIPT_COPTIC},     {0x3f0, 0x3ff, SCRIPT_GREEK},
                  {0x400, 0x52f, SCRIPT_CYRILLIC},   {0x531, 0x58f, SCRIPT_ARMENIAN},
                  {0x13a0, 0x13ff, SCRIPT_CHEROKEE}, {0x1c80, 0x1c8f, SCRIPT_CYRILLIC},
                  {0x1d00, 0x1d25, SCRIPT_LATIN},    {0x1e00, 0x1eff, SCRIPT_LATIN},
                  {0x1f00, 0x1fff, SCRIPT_GREEK},    {0x2c60, 0x2c7f, SCRIPT_LATIN},
                  {0x2c80, 0x2cff, SCRIPT_COPTIC},   {0x2de0, 0x2dff, SCRIPT_CYRILLIC},
                  {0xa640, 0xa69f, SCRIPT_CYRILLIC}, {0xa720, 0xa7ff, SCRIPT_LATIN},
                  {0xab30, 0xab6f, SCRIPT_LATIN},    {0xab70, 0xabbf, SCRIPT_CHEROKEE},
                  {0xff21, 0xff3a, SCRIPT_LATIN},    {0xff41, 0xff5a, SCRIPT_LATIN}};
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) {
            return ranges[i].script;
        }
    }
    return SCRIPT_OTHER;
}

static bool is_invisible(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return true;
    case UTF8PROC_CATEGORY_ZS: return c != ' '; /* a quoted local part may have blanks */
    default:
        /* Fillers and variation selectors, which count as letters and marks. */
        return c == 0x34f || c == 0x115f || c == 0x1160 || c == 0x17b4 || c == 0x17b5 || c == 0x3164 ||
               c == 0xffa0 || (c >= 0x180b && c <= 0x180f) || (c >= 0xfe00 && c <= 0xfe0f) ||
               (c >= 0xe0100 && c <= 0xe01ef);
    }
}

const char *lookalike_fault(struct str local)
{
    unsigned scripts = 0;
    while (local.len > 0) {
        int32_t c;
        utf8proc_ssize_t len =
            utf8proc_iterate((const unsigned char *)local.data, (utf8proc_ssize_t)local.len, &c);
        if (len <= 0) {
            return "is not UTF-8";
        }
        if (is_invisible(c)) {
            return "has a character that cannot be seen";
        }
        enum script script = script_of(c);
        scripts |= script == SCRIPT_OTHER ? 0U : 1U << script;
        local = str_from(local, (size_t)len);
    }
    /* More than one bit. */
    return (scripts & (scripts - 1)) != 0 ? "mixes letters of several scripts that look alike" : NULL;
}

bool lookalike_skeleton(struct str local, struct buf *out)
{
    if (str_is_ascii(local)) {
        char *room = buf_reserve(out, local.len);
        for (size_t i = 0; room != NULL && i < local.len; i++) {
            room[i] = ascii_lower(local.data[i]);
        }
        out->len += room == NULL ? 0 : local.len;
        return room != NULL;
    }
    int32_t area[CHARACTERS_MAX];
    utf8proc_ssize_t count = utf8proc_decompose(
        (const unsigned char *)local.data, (utf8proc_ssize_t)local.len, area, CHARACTERS_MAX,
        UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
    if (count < 0 || count > CHARACTERS_MAX) {
        return false;
    }
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        charset_append_char((uint32_t)latin_of(area[i]), out);
    }
    return buf_ok(out);
}
