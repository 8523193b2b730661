/* DNS answers. The first octet chooses the type. Oracles: bounds of counts and lengths; names are lower-case names of hosts. */
#include "dns/answer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t types[] = {DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, DNS_TYPE_PTR};
    struct dns_answer answer;
    if (size < 1) {
        return 0;
    }
    uint16_t type = types[data[0] & 3];
    if (!dns_answer_read(str_make(data + 1, size - 1), type, &answer)) {
        return 0;
    }
    must(answer.count <= DNS_RECORDS_MAX);
    for (size_t i = 0; i < answer.count; i++) {
        const struct dns_record *r = &answer.records[i];
        bool address = type == DNS_TYPE_A || type == DNS_TYPE_AAAA;
        must(r->address_len == (type == DNS_TYPE_A ? 4 : type == DNS_TYPE_AAAA ? 16 : 0));
        must(!address || r->name_len == 0);
        must(r->name_len < DNS_NAME_MAX);
        for (size_t k = 0; k < r->name_len; k++) {
            char c = r->name[k];
            must(c == '.' || c == '-' || c == '_' || (ascii_is_alnum(c) && ascii_lower(c) == c));
        }
    }
    return 0;
}
