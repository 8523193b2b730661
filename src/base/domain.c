/* Domain names; see domain.h. */
#include "base/domain.h"

#include <arpa/inet.h>
#include <idn2.h>

static bool is_ldh(char c)
{
    return ascii_is_alnum(c) || c == '-' || c == '_';
}

static bool labels_are_valid(struct str domain)
{
    if (domain.len == 0 || domain.len > DOMAIN_MAX) {
        return false;
    }
    size_t label = 0;
    for (size_t i = 0; i <= domain.len; i++) {
        if (i == domain.len || domain.data[i] == '.') {
            bool edges = label > 0 && domain.data[i - 1] != '-' && domain.data[i - label] != '-';
            if (!edges || label > 63) {
                return false;
            }
            label = 0;
        } else if (!is_ldh(domain.data[i])) {
            return false;
        } else {
            label++;
        }
    }
    return true;
}

bool domain_is_literal(struct str domain, unsigned char *address, size_t *len)
{
    char text[64];
    unsigned char value[16];
    if (domain.len < 4 || domain.len > 60 || domain.data[0] != '[' || domain.data[domain.len - 1] != ']') {
        return false;
    }
    struct str inside = str_sub(domain, 1, domain.len - 1);
    bool v6 = str_starts_nocase(inside, STR("IPv6:"));
    if (v6) {
        inside = str_from(inside, 5);
    }
    memcpy(text, inside.data, inside.len);
    text[inside.len] = '\0';
    if (memchr(text, '\0', inside.len) != NULL || inet_pton(v6 ? AF_INET6 : AF_INET, text, value) != 1) {
        return false;
    }
    if (address != NULL) {
        *len = v6 ? 16 : 4;
        memcpy(address, value, *len);
    }
    return true;
}

static bool append_lower(struct str s, struct buf *out)
{
    char *room = buf_reserve(out, s.len);
    if (room == NULL) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        room[i] = ascii_lower(s.data[i]);
    }
    out->len += s.len;
    return true;
}

static bool append_literal(const unsigned char *address, size_t len, struct buf *out)
{
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(len == 4 ? AF_INET : AF_INET6, address, text, sizeof(text)) == NULL) {
        return false;
    }
    return buf_append_str(out, len == 4 ? STR("[") : STR("[IPv6:")) && buf_append_str(out, str_of(text)) &&
           buf_append_char(out, ']');
}

bool domain_normalize(struct str domain, struct buf *out)
{
    unsigned char address[16];
    size_t len = 0;
    if (domain_is_literal(domain, address, &len)) {
        return append_literal(address, len, out);
    }
    if (str_is_ascii(domain)) {
        return labels_are_valid(domain) && append_lower(domain, out);
    }
    char text[DOMAIN_MAX * 4 + 1];
    if (domain.len >= sizeof(text) || !str_is_utf8(domain) || memchr(domain.data, '\0', domain.len) != NULL) {
        return false;
    }
    memcpy(text, domain.data, domain.len);
    text[domain.len] = '\0';
    char *alabels = NULL;
    int code = idn2_to_ascii_8z(text, &alabels, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    bool fine = code == IDN2_OK && labels_are_valid(str_of(alabels)) && append_lower(str_of(alabels), out);
    idn2_free(alabels);
    return fine;
}
