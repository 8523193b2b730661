/* Reading a DNS answer packet; see answer.h. */
#include "dns/answer.h"

enum {
    HEADER_SIZE = 12,
    QUESTION_TAIL = 4,
    RECORD_TAIL = 10,
    ANSWERS_MAX = 512,
    CHAIN_MAX = 12,
    JUMPS_MAX = 64
};

struct name {
    size_t len;
    bool host; /* made of letters, digits, hyphens and underscores only */
    char text[DNS_NAME_MAX];
};

static unsigned read16(struct str packet, size_t at)
{
    return (unsigned)(unsigned char)packet.data[at] << 8 | (unsigned char)packet.data[at + 1];
}

static bool add_label(struct name *name, struct str label)
{
    if (name->len + (name->len > 0) + label.len > DNS_NAME_MAX - 2) {
        return false;
    }
    if (name->len > 0) {
        name->text[name->len++] = '.';
    }
    for (size_t i = 0; i < label.len; i++) {
        char c = ascii_lower(label.data[i]);
        name->host = name->host && (ascii_is_alnum(c) || c == '-' || c == '_');
        name->text[name->len++] = c;
    }
    return true;
}

/* Reads the name at *at and moves *at behind it. Pointers must lead backwards, so this ends. */
static bool read_name(struct str packet, size_t *at, struct name *name)
{
    size_t pos = *at;
    size_t lowest = pos;
    bool jumped = false;
    name->len = 0;
    name->host = true;
    for (int steps = 0; steps < JUMPS_MAX + 128; steps++) {
        if (pos >= packet.len) {
            return false;
        }
        size_t len = (unsigned char)packet.data[pos];
        if (len == 0) {
            if (!jumped) {
                *at = pos + 1;
            }
            return true;
        }
        if ((len & 0xc0) == 0xc0) {
            if (pos + 1 >= packet.len) {
                return false;
            }
            size_t target = read16(packet, pos) & 0x3fff;
            if (!jumped) {
                *at = pos + 2;
                jumped = true;
            }
            if (target >= lowest) {
                return false;
            }
            lowest = target;
            pos = target;
            continue;
        }
        if ((len & 0xc0) != 0 || len > packet.len - pos - 1 ||
            !add_label(name, str_sub(packet, pos + 1, pos + 1 + len))) {
            return false;
        }
        pos += 1 + len;
    }
    return false;
}

static bool same_name(const struct name *a, const struct name *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

struct raw_record {
    struct name owner;
    unsigned type;
    size_t data_at;
    size_t data_len;
};

static bool read_record(struct str packet, size_t *at, struct raw_record *record)
{
    if (!read_name(packet, at, &record->owner) || packet.len - *at < RECORD_TAIL) {
        return false;
    }
    record->type = read16(packet, *at);
    record->data_len = read16(packet, *at + 8);
    record->data_at = *at + RECORD_TAIL;
    if (record->data_len > packet.len - record->data_at) {
        return false;
    }
    *at = record->data_at + record->data_len;
    return true;
}

static bool read_data_name(struct str packet, const struct raw_record *raw, size_t skip, struct name *name)
{
    size_t at = raw->data_at + skip;
    return raw->data_len > skip && read_name(packet, &at, name) && at == raw->data_at + raw->data_len;
}

/* Adds one record's data; what cannot be used is left out. */
static bool add_record(struct str packet, const struct raw_record *raw, struct dns_answer *answer)
{
    if (answer->count == DNS_RECORDS_MAX) {
        answer->truncated = true;
        return true;
    }
    struct dns_record *record = &answer->records[answer->count];
    memset(record, 0, sizeof(*record));
    if (raw->type == DNS_TYPE_A || raw->type == DNS_TYPE_AAAA) {
        size_t want = raw->type == DNS_TYPE_A ? 4 : 16;
        if (raw->data_len != want) {
            return false;
        }
        record->address_len = (uint8_t)want;
        memcpy(record->address, packet.data + raw->data_at, want);
        answer->count++;
        return true;
    }
    struct name name;
    size_t skip = raw->type == DNS_TYPE_MX ? 2 : 0;
    if (!read_data_name(packet, raw, skip, &name)) {
        return false;
    }
    if (!name.host) {
        return true;
    }
    record->preference = skip == 0 ? 0 : (uint16_t)read16(packet, raw->data_at);
    record->name_len = (uint8_t)name.len;
    memcpy(record->name, name.text, name.len);
    answer->count++;
    return true;
}

/* One walk over the answer section: either finds the CNAME of `wanted` or collects its records. */
static bool walk(struct str packet, size_t at, unsigned count, unsigned type, struct name *wanted,
                 bool *alias, struct dns_answer *answer)
{
    struct raw_record raw;
    for (unsigned i = 0; i < count; i++) {
        if (!read_record(packet, &at, &raw)) {
            return false;
        }
        if (!same_name(&raw.owner, wanted)) {
            continue;
        }
        if (raw.type == type) {
            if (!add_record(packet, &raw, answer)) {
                return false;
            }
        } else if (raw.type == DNS_TYPE_CNAME && !*alias) {
            struct name target;
            if (!read_data_name(packet, &raw, 0, &target)) {
                return false;
            }
            *alias = true;
            *wanted = target;
            return true;
        }
    }
    return true;
}

bool dns_answer_read(struct str packet, uint16_t type, struct dns_answer *answer)
{
    answer->count = 0;
    answer->truncated = false;
    answer->was_alias = false;
    if (packet.len < HEADER_SIZE || read16(packet, 4) != 1) {
        return false;
    }
    unsigned count = read16(packet, 6);
    size_t at = HEADER_SIZE;
    struct name wanted;
    if (!read_name(packet, &at, &wanted) || packet.len - at < QUESTION_TAIL || count > ANSWERS_MAX) {
        return false;
    }
    at += QUESTION_TAIL;
    for (int link = 0; link < CHAIN_MAX; link++) {
        bool alias = false;
        if (!walk(packet, at, count, type, &wanted, &alias, answer)) {
            return false;
        }
        if (!alias || answer->count > 0) {
            return true;
        }
        answer->was_alias = true;
    }
    return false;
}

static size_t add_decimal(char *out, unsigned value)
{
    size_t n = 0;
    if (value >= 100) {
        out[n++] = (char)('0' + value / 100);
    }
    if (value >= 10) {
        out[n++] = (char)('0' + value / 10 % 10);
    }
    out[n++] = (char)('0' + value % 10);
    return n;
}

size_t dns_reverse_name(struct str address, char *out)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = address.len; i > 0; i--) {
        unsigned byte = (unsigned char)address.data[i - 1];
        if (address.len == 4) {
            n += add_decimal(out + n, byte);
            out[n++] = '.';
        } else {
            out[n++] = hex[byte & 15];
            out[n++] = '.';
            out[n++] = hex[byte >> 4];
            out[n++] = '.';
        }
    }
    struct str zone = address.len == 4 ? STR("in-addr.arpa") : STR("ip6.arpa");
    memcpy(out + n, zone.data, zone.len);
    return n + zone.len;
}
