/* Where a message goes; see plan.h. */
#include "queue/plan.h"

#include "base/domain.h"

static const struct plan_reason reason_no_domain = {550, "5.1.2",
                                                    "The domain of the address does not exist in the DNS"};
static const struct plan_reason reason_null_mx = {
    556, "5.1.10", "The domain says in the DNS that it takes no mail (null MX)"};
static const struct plan_reason reason_no_hosts = {
    550, "5.4.4", "The domain has neither mail servers nor addresses in the DNS"};
static const struct plan_reason reason_bad_hosts = {550, "5.4.4",
                                                    "The domain's MX records name no usable host"};
static const struct plan_reason reason_no_address = {
    550, "5.4.4", "The mail server of the domain has no address in the DNS"};
static const struct plan_reason reason_loop = {554, "5.4.6",
                                               "Mail for this domain leads back to this server, which does "
                                               "not have the domain: its MX or the configuration is wrong"};
static const struct plan_reason reason_dns = {451, "4.4.3", "The DNS of the domain cannot be asked now"};
static const struct plan_reason reason_bogus = {
    451, "4.4.3", "The DNS answer for the domain is not authentic (DNSSEC validation failed)"};
static const struct plan_reason reason_literal = {550, "5.1.2", "The address literal cannot be delivered to"};

/* A small generator over the one random number given: splitmix64. */
static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15U;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static void plan_end(struct plan *plan, enum plan_verdict verdict, const struct plan_reason *reason)
{
    plan->verdict = verdict;
    plan->reason = *reason;
    plan->count = 0;
}

/* A host name as DNS has it, lower case already. */
static bool is_host_name(struct str name)
{
    size_t label = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (c == '.') {
            if (label == 0) {
                return false;
            }
            label = 0;
            continue;
        }
        label++;
        if (!(c >= 'a' && c <= 'z') && !ascii_is_digit(c) && c != '-' && c != '_') {
            return false;
        }
        if (label > 63) {
            return false;
        }
    }
    return name.len > 0 && name.len <= PLAN_NAME_MAX && label > 0;
}

static bool plan_add(struct plan *plan, struct str name, uint16_t preference)
{
    if (plan->count == PLAN_HOSTS_MAX || name.len > PLAN_NAME_MAX) {
        return false;
    }
    struct plan_host *host = &plan->hosts[plan->count++];
    *host = (struct plan_host){.preference = preference, .name_len = (uint8_t)name.len};
    memcpy(host->name, name.data, name.len);
    return true;
}

static struct str host_name(const struct plan_host *host)
{
    return str_make(host->name, host->name_len);
}

/* Reads the entries of the answer; false if they are not well formed. Names that are none are left out. */
static bool read_hosts(struct str entries, struct plan *plan, bool *null_mx)
{
    size_t at = 0;
    size_t seen = 0;
    *null_mx = false;
    while (at < entries.len) {
        if (entries.len - at < 3) {
            return false;
        }
        const unsigned char *entry = (const unsigned char *)entries.data + at;
        size_t len = entry[2];
        if (entries.len - at - 3 < len) {
            return false;
        }
        struct str name = str_make(entry + 3, len);
        *null_mx = *null_mx || len == 0;
        if (is_host_name(name)) {
            plan_add(plan, name, (uint16_t)(entry[0] | entry[1] << 8));
        }
        seen++;
        at += 3 + len;
    }
    /* RFC 7505, section 3: a null MX stands alone; beside others it means nothing. */
    *null_mx = *null_mx && seen == 1;
    return true;
}

static void swap_hosts(struct plan *plan, size_t a, size_t b)
{
    struct plan_host host = plan->hosts[a];
    plan->hosts[a] = plan->hosts[b];
    plan->hosts[b] = host;
}

/* Shuffles all, then sorts by preference without disturbing equals: so equals stay shuffled. */
static void order_hosts(struct plan *plan, uint64_t random)
{
    for (size_t i = plan->count; i > 1; i--) {
        swap_hosts(plan, i - 1, (size_t)(next_random(&random) % i));
    }
    for (size_t i = 1; i < plan->count; i++) {
        for (size_t j = i; j > 0 && plan->hosts[j - 1].preference > plan->hosts[j].preference; j--) {
            swap_hosts(plan, j - 1, j);
        }
    }
}

void plan_cut_self(struct plan *plan, size_t at)
{
    if (at >= plan->count) {
        return;
    }
    uint16_t preference = plan->hosts[at].preference;
    size_t keep = 0;
    while (keep < plan->count && plan->hosts[keep].preference < preference) {
        keep++;
    }
    plan->count = keep;
    if (keep == 0) {
        plan_end(plan, PLAN_FAILED, &reason_loop);
    }
}

static bool takes_mail_at(const struct plan_self *self, unsigned port)
{
    for (size_t i = 0; i < self->port_count; i++) {
        if (self->ports[i] == port) {
            return true;
        }
    }
    return false;
}

static void cut_own_name(struct plan *plan, const struct plan_self *self, unsigned port)
{
    for (size_t i = 0; takes_mail_at(self, port) && i < plan->count; i++) {
        if (str_equal_nocase(host_name(&plan->hosts[i]), self->name)) {
            plan_cut_self(plan, i);
            return;
        }
    }
}

void plan_from_mx(const struct resolve_mx_answer *answer, struct str domain, const struct plan_self *self,
                  unsigned port, uint64_t random, struct plan *plan)
{
    *plan = (struct plan){.secure = answer->secure != 0};
    bool null_mx = false;
    switch (answer->status) {
    case RESOLVE_OK:
        if (!read_hosts(answer->hosts, plan, &null_mx)) {
            plan_end(plan, PLAN_DEFERRED, &reason_dns);
            return;
        }
        if (null_mx || plan->count == 0) {
            plan_end(plan, PLAN_FAILED, null_mx ? &reason_null_mx : &reason_bad_hosts);
            return;
        }
        break;
    case RESOLVE_NO_DATA:
        if (!is_host_name(domain)) {
            plan_end(plan, PLAN_FAILED, &reason_no_domain);
            return;
        }
        plan->implicit = true;
        plan_add(plan, domain, 0);
        break;
    case RESOLVE_NO_DOMAIN: plan_end(plan, PLAN_FAILED, &reason_no_domain); return;
    case RESOLVE_BOGUS: plan_end(plan, PLAN_DEFERRED, &reason_bogus); return;
    default: plan_end(plan, PLAN_DEFERRED, &reason_dns); return;
    }
    order_hosts(plan, random);
    cut_own_name(plan, self, port);
}

static void add_literal(struct plan *plan, struct str name, const unsigned char *bytes, size_t len)
{
    plan_add(plan, name, 0);
    plan->hosts[0].literal = true;
    plan->hosts[0].address.len = (uint8_t)len;
    memcpy(plan->hosts[0].address.bytes, bytes, len);
}

void plan_from_literal(struct str domain, const struct plan_self *self, unsigned port, struct plan *plan)
{
    *plan = (struct plan){0};
    unsigned char bytes[16];
    size_t len = 0;
    if (domain.len > PLAN_NAME_MAX || !domain_is_literal(domain, bytes, &len)) {
        plan_end(plan, PLAN_FAILED, &reason_literal);
        return;
    }
    add_literal(plan, domain, bytes, len);
    if (plan_is_self(self, &plan->hosts[0].address, port)) {
        plan_end(plan, PLAN_FAILED, &reason_loop);
    }
}

void plan_from_route(const struct config_route *route, struct plan *plan)
{
    *plan = (struct plan){0};
    unsigned char bytes[16];
    size_t len = 0;
    char area[PLAN_NAME_MAX + 8];
    struct str host = route->host;
    bool bracketed = host.len > 0 && host.data[0] == '[';
    struct buf literal = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (!bracketed) {
        buf_append_str(&literal, str_find(host, 0, ':') == SIZE_MAX ? STR("[") : STR("[IPv6:"));
    }
    buf_append_str(&literal, host);
    if (!bracketed) {
        buf_append_char(&literal, ']');
    }
    if (buf_ok(&literal) && domain_is_literal(buf_str(&literal), bytes, &len)) {
        add_literal(plan, host, bytes, len);
        return;
    }
    char name_area[PLAN_NAME_MAX];
    struct buf name = {.data = name_area, .cap = sizeof(name_area), .limit = sizeof(name_area)};
    if (!domain_normalize(host, &name) || !plan_add(plan, buf_str(&name), 0)) {
        plan_end(plan, PLAN_FAILED, &reason_bad_hosts);
    }
}

/* Addresses. */

static bool is_mapped_ipv4(const struct plan_address *address)
{
    static const unsigned char prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return address->len == 16 && memcmp(address->bytes, prefix, sizeof(prefix)) == 0;
}

/* Addresses that no mail server has: unspecified, multicast, broadcast. */
static bool is_usable(const struct plan_address *address)
{
    static const unsigned char zero[16] = {0};
    if (address->len == 4) {
        return address->bytes[0] != 0 && address->bytes[0] < 224;
    }
    return memcmp(address->bytes, zero, sizeof(zero)) != 0 && address->bytes[0] != 0xff &&
           !is_mapped_ipv4(address);
}

bool plan_is_self(const struct plan_self *self, const struct plan_address *address, unsigned port)
{
    if (self == NULL || !takes_mail_at(self, port)) {
        return false;
    }
    for (size_t i = 0; i < self->address_count; i++) {
        if (self->addresses[i].len == address->len &&
            memcmp(self->addresses[i].bytes, address->bytes, address->len) == 0) {
            return true;
        }
    }
    return false;
}

static void addresses_end(struct plan_addresses *addresses, enum plan_verdict verdict,
                          const struct plan_reason *reason)
{
    addresses->verdict = verdict;
    addresses->reason = *reason;
    addresses->count = 0;
}

static bool read_addresses(struct str entries, struct plan_addresses *addresses)
{
    size_t at = 0;
    while (at < entries.len) {
        size_t len = (unsigned char)entries.data[at];
        if ((len != 4 && len != 16) || entries.len - at - 1 < len) {
            return false;
        }
        struct plan_address address = {.len = (uint8_t)len};
        memcpy(address.bytes, entries.data + at + 1, len);
        if (is_usable(&address) && addresses->count < RESOLVE_ADDRESSES_MAX) {
            addresses->list[addresses->count++] = address;
        }
        at += 1 + len;
    }
    return true;
}

/* Shuffled, then IPv6 and IPv4 in turns, so that a broken family costs one attempt and no more. */
static void order_addresses(struct plan_addresses *addresses, uint64_t random)
{
    struct plan_address *list = addresses->list;
    for (size_t i = addresses->count; i > 1; i--) {
        size_t j = (size_t)(next_random(&random) % i);
        struct plan_address address = list[i - 1];
        list[i - 1] = list[j];
        list[j] = address;
    }
    uint8_t wanted = 16;
    for (size_t i = 0; i < addresses->count; i++) {
        size_t j = i;
        while (j < addresses->count && list[j].len != wanted) {
            j++;
        }
        if (j < addresses->count) {
            struct plan_address address = list[j];
            memmove(&list[i + 1], &list[i], (j - i) * sizeof(list[0]));
            list[i] = address;
        }
        wanted = wanted == 16 ? 4 : 16;
    }
}

void plan_addresses_from(const struct resolve_host_answer *answer, bool implicit,
                         const struct plan_self *self, unsigned port, uint64_t random,
                         struct plan_addresses *addresses)
{
    *addresses = (struct plan_addresses){0};
    switch (answer->status) {
    case RESOLVE_OK: break;
    case RESOLVE_NO_DATA:
    case RESOLVE_NO_DOMAIN:
        addresses_end(addresses, PLAN_FAILED, implicit ? &reason_no_hosts : &reason_no_address);
        return;
    case RESOLVE_BOGUS: addresses_end(addresses, PLAN_DEFERRED, &reason_bogus); return;
    default: addresses_end(addresses, PLAN_DEFERRED, &reason_dns); return;
    }
    if (!read_addresses(answer->addresses, addresses)) {
        addresses_end(addresses, PLAN_DEFERRED, &reason_dns);
        return;
    }
    for (size_t i = 0; i < addresses->count && !addresses->self; i++) {
        addresses->self = plan_is_self(self, &addresses->list[i], port);
    }
    if (addresses->self) {
        addresses_end(addresses, PLAN_FAILED, &reason_loop);
    } else if (addresses->count == 0) {
        addresses_end(addresses, PLAN_FAILED, &reason_no_address);
    }
    order_addresses(addresses, random);
}
