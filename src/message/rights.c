/* Rights as letters; see rights.h. */
#include "message/rights.h"

static const struct {
    char letter;
    uint32_t rights;
} letters[] = {{'l', RIGHT_LOOKUP},
               {'r', RIGHT_READ},
               {'s', RIGHT_SEEN},
               {'w', RIGHT_WRITE},
               {'i', RIGHT_INSERT},
               {'p', RIGHT_POST},
               {'k', RIGHT_CREATE},
               {'x', RIGHT_REMOVE},
               {'t', RIGHT_DELETED},
               {'e', RIGHT_EXPUNGE},
               {'a', RIGHT_ADMINISTER},
               /* RFC 2086 */
               {'c', RIGHT_CREATE},
               {'d', RIGHT_REMOVE | RIGHT_DELETED | RIGHT_EXPUNGE}};
enum { LETTERS = sizeof(letters) / sizeof(letters[0]), OLD_LETTERS = 2 };

bool rights_parse(struct str text, uint32_t *rights)
{
    *rights = 0;
    for (size_t i = 0; i < text.len; i++) {
        size_t at = 0;
        while (at < LETTERS && letters[at].letter != text.data[i]) {
            at++;
        }
        if (at == LETTERS) {
            return false;
        }
        *rights |= letters[at].rights;
    }
    return true;
}

void rights_write(uint32_t rights, bool old, struct buf *out)
{
    for (size_t i = 0; i < LETTERS - (old ? 0 : OLD_LETTERS); i++) {
        if ((rights & letters[i].rights) != 0) {
            buf_append_char(out, letters[i].letter);
        }
    }
}

bool is_other_users(struct str name)
{
    size_t len = sizeof(OTHER_USERS) - 1;
    return str_starts(name, STR(OTHER_USERS)) && (name.len == len || name.data[len] == '/');
}
