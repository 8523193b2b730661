/* The charsets that are allowed, and the names that mail has for them; see charset_private.h. */
#include "message/charset_private.h"

static const char *const iconv_names[CHARSET_COUNT] = {
    "US-ASCII",     "UTF-8",        "WINDOWS-1252", "ISO-8859-2",    "ISO-8859-3",   "ISO-8859-4",
    "ISO-8859-5",   "ISO-8859-6",   "ISO-8859-7",   "ISO-8859-8",    "ISO-8859-9",   "ISO-8859-10",
    "ISO-8859-11",  "ISO-8859-13",  "ISO-8859-14",  "ISO-8859-15",   "ISO-8859-16",  "WINDOWS-1250",
    "WINDOWS-1251", "WINDOWS-1253", "WINDOWS-1254", "WINDOWS-1255",  "WINDOWS-1256", "WINDOWS-1257",
    "WINDOWS-1258", "KOI8-R",       "KOI8-U",       "IBM437",        "IBM850",       "IBM852",
    "IBM855",       "IBM866",       "IBM862",       "MACINTOSH",     "MAC-CYRILLIC", "TIS-620",
    "VISCII",       "ARMSCII-8",    "GEORGIAN-PS",  "UTF-7",         "UTF-16",       "UTF-16LE",
    "UTF-16BE",     "UTF-32",       "ISO-2022-JP",  "ISO-2022-JP-2", "ISO-2022-KR",  "ISO-2022-CN",
    "EUC-JP",       "EUC-KR",       "EUC-TW",       "CP932",         "GB18030",      "BIG5",
    "BIG5-HKSCS",   "JOHAB",        "TCVN",
};

/* Names in lower case without their punctuation, as everybody puts that elsewhere; sorted by bytes. */
static const struct {
    const char *name;
    int charset;
} aliases[] = {
    {"1252", 2},            /* WINDOWS-1252 */
    {"437", 27},            /* IBM437 */
    {"646", 0},             /* US-ASCII */
    {"850", 28},            /* IBM850 */
    {"866", 31},            /* IBM866 */
    {"88591", 2},           /* WINDOWS-1252 */
    {"885915", 15},         /* ISO-8859-15 */
    {"88592", 3},           /* ISO-8859-2 */
    {"8bit", 2},            /* WINDOWS-1252 */
    {"ansi", 2},            /* WINDOWS-1252 */
    {"ansix341968", 0},     /* US-ASCII */
    {"ansix341986", 0},     /* US-ASCII */
    {"arabic", 7},          /* ISO-8859-6 */
    {"armscii8", 37},       /* ARMSCII-8 */
    {"ascii", 0},           /* US-ASCII */
    {"big5", 53},           /* BIG5 */
    {"big5eten", 53},       /* BIG5 */
    {"big5hkscs", 54},      /* BIG5-HKSCS */
    {"chinese", 52},        /* GB18030 */
    {"cnbig5", 53},         /* BIG5 */
    {"cp1250", 17},         /* WINDOWS-1250 */
    {"cp1251", 18},         /* WINDOWS-1251 */
    {"cp1252", 2},          /* WINDOWS-1252 */
    {"cp1253", 19},         /* WINDOWS-1253 */
    {"cp1254", 20},         /* WINDOWS-1254 */
    {"cp1255", 21},         /* WINDOWS-1255 */
    {"cp1256", 22},         /* WINDOWS-1256 */
    {"cp1257", 23},         /* WINDOWS-1257 */
    {"cp1258", 24},         /* WINDOWS-1258 */
    {"cp367", 0},           /* US-ASCII */
    {"cp437", 27},          /* IBM437 */
    {"cp819", 2},           /* WINDOWS-1252 */
    {"cp850", 28},          /* IBM850 */
    {"cp852", 29},          /* IBM852 */
    {"cp855", 30},          /* IBM855 */
    {"cp862", 32},          /* IBM862 */
    {"cp866", 31},          /* IBM866 */
    {"cp874", 35},          /* TIS-620 */
    {"cp932", 51},          /* CP932 */
    {"cp936", 52},          /* GB18030 */
    {"cp949", 49},          /* EUC-KR */
    {"cp950", 53},          /* BIG5 */
    {"csgb2312", 52},       /* GB18030 */
    {"csiso2022jp", 44},    /* ISO-2022-JP */
    {"csiso2022kr", 46},    /* ISO-2022-KR */
    {"cswindows31j", 51},   /* CP932 */
    {"cyrillic", 6},        /* ISO-8859-5 */
    {"default", 0},         /* US-ASCII */
    {"euccn", 52},          /* GB18030 */
    {"eucjp", 48},          /* EUC-JP */
    {"euckr", 49},          /* EUC-KR */
    {"euctw", 50},          /* EUC-TW */
    {"gb", 52},             /* GB18030 */
    {"gb18030", 52},        /* GB18030 */
    {"gb2312", 52},         /* GB18030 */
    {"gb231280", 52},       /* GB18030 */
    {"gbk", 52},            /* GB18030 */
    {"georgianps", 38},     /* GEORGIAN-PS */
    {"greek", 8},           /* ISO-8859-7 */
    {"greek8", 8},          /* ISO-8859-7 */
    {"hebrew", 9},          /* ISO-8859-8 */
    {"hzgb2312x", 52},      /* GB18030 */
    {"ibm437", 27},         /* IBM437 */
    {"ibm819", 2},          /* WINDOWS-1252 */
    {"ibm850", 28},         /* IBM850 */
    {"ibm852", 29},         /* IBM852 */
    {"ibm855", 30},         /* IBM855 */
    {"ibm862", 32},         /* IBM862 */
    {"ibm866", 31},         /* IBM866 */
    {"iso2022cn", 47},      /* ISO-2022-CN */
    {"iso2022jp", 44},      /* ISO-2022-JP */
    {"iso2022jp2", 45},     /* ISO-2022-JP-2 */
    {"iso2022kr", 46},      /* ISO-2022-KR */
    {"iso646us", 0},        /* US-ASCII */
    {"iso88591", 2},        /* WINDOWS-1252 */
    {"iso885910", 11},      /* ISO-8859-10 */
    {"iso885911", 12},      /* ISO-8859-11 */
    {"iso885911987", 2},    /* WINDOWS-1252 */
    {"iso885911thai", 12},  /* ISO-8859-11 */
    {"iso885913", 13},      /* ISO-8859-13 */
    {"iso885914", 14},      /* ISO-8859-14 */
    {"iso885915", 15},      /* ISO-8859-15 */
    {"iso885916", 16},      /* ISO-8859-16 */
    {"iso88591windows", 2}, /* WINDOWS-1252 */
    {"iso88592", 3},        /* ISO-8859-2 */
    {"iso88593", 4},        /* ISO-8859-3 */
    {"iso88594", 5},        /* ISO-8859-4 */
    {"iso88595", 6},        /* ISO-8859-5 */
    {"iso88596", 7},        /* ISO-8859-6 */
    {"iso88596e", 7},       /* ISO-8859-6 */
    {"iso88596i", 7},       /* ISO-8859-6 */
    {"iso88597", 8},        /* ISO-8859-7 */
    {"iso88598", 9},        /* ISO-8859-8 */
    {"iso88598e", 9},       /* ISO-8859-8 */
    {"iso88598i", 9},       /* ISO-8859-8 */
    {"iso88599", 10},       /* ISO-8859-9 */
    {"johab", 55},          /* JOHAB */
    {"koi", 25},            /* KOI8-R */
    {"koi8", 25},           /* KOI8-R */
    {"koi8r", 25},          /* KOI8-R */
    {"koi8ru", 26},         /* KOI8-U */
    {"koi8u", 26},          /* KOI8-U */
    {"korean", 49},         /* EUC-KR */
    {"ksc5601", 49},        /* EUC-KR */
    {"ksc56011987", 49},    /* EUC-KR */
    {"ksc56011989", 49},    /* EUC-KR */
    {"l1", 2},              /* WINDOWS-1252 */
    {"l2", 3},              /* ISO-8859-2 */
    {"l3", 4},              /* ISO-8859-3 */
    {"l4", 5},              /* ISO-8859-4 */
    {"l5", 10},             /* ISO-8859-9 */
    {"l6", 11},             /* ISO-8859-10 */
    {"latin1", 2},          /* WINDOWS-1252 */
    {"latin10", 16},        /* ISO-8859-16 */
    {"latin2", 3},          /* ISO-8859-2 */
    {"latin3", 4},          /* ISO-8859-3 */
    {"latin4", 5},          /* ISO-8859-4 */
    {"latin5", 10},         /* ISO-8859-9 */
    {"latin6", 11},         /* ISO-8859-10 */
    {"latin7", 13},         /* ISO-8859-13 */
    {"latin8", 14},         /* ISO-8859-14 */
    {"latin9", 15},         /* ISO-8859-15 */
    {"logical", 9},         /* ISO-8859-8 */
    {"mac", 33},            /* MACINTOSH */
    {"maccyrillic", 34},    /* MAC-CYRILLIC */
    {"macintosh", 33},      /* MACINTOSH */
    {"macroman", 33},       /* MACINTOSH */
    {"ms936", 52},          /* GB18030 */
    {"mskanji", 51},        /* CP932 */
    {"none", 0},            /* US-ASCII */
    {"shiftjis", 51},       /* CP932 */
    {"sjis", 51},           /* CP932 */
    {"tcvn", 56},           /* TCVN */
    {"tcvn5712", 56},       /* TCVN */
    {"tcvn57121", 56},      /* TCVN */
    {"tis620", 35},         /* TIS-620 */
    {"uhc", 49},            /* EUC-KR */
    {"ujis", 48},           /* EUC-JP */
    {"unicode", 40},        /* UTF-16 */
    {"unicode1141utf8", 1}, /* UTF-8 */
    {"unicode11utf7", 39},  /* UTF-7 */
    {"unicode11utf8", 1},   /* UTF-8 */
    {"us", 0},              /* US-ASCII */
    {"usascii", 0},         /* US-ASCII */
    {"utf16", 40},          /* UTF-16 */
    {"utf16be", 42},        /* UTF-16BE */
    {"utf16le", 41},        /* UTF-16LE */
    {"utf32", 43},          /* UTF-32 */
    {"utf7", 39},           /* UTF-7 */
    {"utf8", 1},            /* UTF-8 */
    {"utf8mb4", 1},         /* UTF-8 */
    {"viscii", 36},         /* VISCII */
    {"visual", 9},          /* ISO-8859-8 */
    {"win", 18},            /* WINDOWS-1251 */
    {"win1251", 18},        /* WINDOWS-1251 */
    {"windows1250", 17},    /* WINDOWS-1250 */
    {"windows1251", 18},    /* WINDOWS-1251 */
    {"windows1252", 2},     /* WINDOWS-1252 */
    {"windows1253", 19},    /* WINDOWS-1253 */
    {"windows1254", 20},    /* WINDOWS-1254 */
    {"windows1255", 21},    /* WINDOWS-1255 */
    {"windows1256", 22},    /* WINDOWS-1256 */
    {"windows1257", 23},    /* WINDOWS-1257 */
    {"windows1258", 24},    /* WINDOWS-1258 */
    {"windows31j", 51},     /* CP932 */
    {"windows874", 35},     /* TIS-620 */
    {"windows949", 49},     /* EUC-KR */
    {"xansi", 2},           /* WINDOWS-1252 */
    {"xcp1250", 17},        /* WINDOWS-1250 */
    {"xcp1251", 18},        /* WINDOWS-1251 */
    {"xcp1252", 2},         /* WINDOWS-1252 */
    {"xcp850", 28},         /* IBM850 */
    {"xeucjp", 48},         /* EUC-JP */
    {"xgbk", 52},           /* GB18030 */
    {"xmac", 33},           /* MACINTOSH */
    {"xmaccyrillic", 34},   /* MAC-CYRILLIC */
    {"xmacroman", 33},      /* MACINTOSH */
    {"xsjis", 51},          /* CP932 */
    {"xunicode20utf7", 39}, /* UTF-7 */
    {"xunicode20utf8", 1},  /* UTF-8 */
    {"xwindows874", 35},    /* TIS-620 */
    {"xxbig5", 53},         /* BIG5 */
};

enum { NAME_MAX_LEN = 24 };

const char *charset_iconv_name(int charset)
{
    return iconv_names[charset];
}

int charset_lookup(struct str name)
{
    char area[NAME_MAX_LEN];
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (ascii_is_alnum(name.data[i])) {
            if (len == sizeof(area)) {
                return -1;
            }
            area[len++] = ascii_lower(name.data[i]);
        }
    }
    struct str wanted = str_make(area, len);
    size_t low = 0;
    size_t high = sizeof(aliases) / sizeof(aliases[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = str_compare(wanted, str_of(aliases[middle].name));
        if (order == 0) {
            return aliases[middle].charset;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return -1;
}
