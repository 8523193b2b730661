/*
 * The resolver role: DNS look-ups for relay and smtpd, with DNSSEC validation and libunbound's cache. The only role
 * that speaks DNS; it knows no mail. A question whose asker is gone is answered to nobody.
 */
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "dns/lookup.h"
#include "ipc/proto_resolve.h"
#include "roles/role.h"

#include <arpa/inet.h>

enum { LOOKUP_TIMEOUT_MS = 30000, REVERSE_TRIES = 4, FAMILY_IPV4 = 1, FAMILY_IPV6 = 2 };

struct resolver {
    struct lookup_context *lookups;
};

/* One question of a peer. It names the peer by number: the peer may be gone before the answer comes. */
struct question {
    struct role *role;
    enum role_kind peer_kind;
    uint32_t peer_instance;
    uint64_t ticket;
    unsigned pending; /* look-ups under way */
    bool secure;
    enum lookup_status status;
    struct buf entries;
    struct str address; /* of a reverse question */
    unsigned char bytes[16];
    char name[DNS_NAME_MAX];
    size_t name_len;
    struct buf cause;
};

static struct question *question_new(struct role_peer *peer, uint64_t ticket)
{
    struct question *question = mem_new(struct question);
    if (question == NULL) {
        log_warning("out of memory: a DNS question is dropped; the asker times out and tries again");
        return NULL;
    }
    *question = (struct question){.role = peer->role,
                                  .peer_kind = peer->kind,
                                  .peer_instance = peer->instance,
                                  .ticket = ticket,
                                  .secure = true,
                                  .status = LOOKUP_NO_DATA,
                                  .entries = buf_make((size_t)RESOLVE_HOSTS_MAX * 258),
                                  .cause = buf_make(256)};
    return question;
}

static void question_free(struct question *question)
{
    buf_free(&question->entries);
    buf_free(&question->cause);
    mem_free(question);
}

static struct role_peer *asker(const struct question *question)
{
    return role_peer_find(question->role, question->peer_kind, question->peer_instance);
}

static uint8_t status_number(enum lookup_status status)
{
    switch (status) {
    case LOOKUP_OK: return RESOLVE_OK;
    case LOOKUP_NO_DOMAIN: return RESOLVE_NO_DOMAIN;
    case LOOKUP_NO_DATA: return RESOLVE_NO_DATA;
    case LOOKUP_BOGUS: return RESOLVE_BOGUS;
    default: return RESOLVE_TEMPORARY;
    }
}

static void note_cause(struct question *question, const struct lookup_result *result)
{
    if (question->cause.len == 0) {
        buf_append_escaped(&question->cause, result->cause, 250);
    }
}

/* MX */

static void mx_done(void *data, const struct lookup_result *result)
{
    struct question *question = data;
    for (size_t i = 0; result->status == LOOKUP_OK && i < result->answer->count; i++) {
        const struct dns_record *record = &result->answer->records[i];
        buf_append_le16(&question->entries, record->preference);
        buf_append_char(&question->entries, (char)record->name_len);
        buf_append(&question->entries, record->name, record->name_len);
    }
    note_cause(question, result);
    bool whole = buf_ok(&question->entries);
    struct resolve_mx_answer answer = {.ticket = question->ticket,
                                       .status = whole ? status_number(result->status) : RESOLVE_TEMPORARY,
                                       .secure = result->secure,
                                       .hosts = whole ? buf_str(&question->entries) : STR_EMPTY,
                                       .cause = buf_str(&question->cause)};
    role_send(asker(question), &resolve_mx_answer_type, &answer);
    question_free(question);
}

/* Addresses of a host: A and AAAA side by side, one answer. */

static void host_part_done(void *data, const struct lookup_result *result)
{
    struct question *question = data;
    for (size_t i = 0; result->status == LOOKUP_OK && i < result->answer->count; i++) {
        const struct dns_record *record = &result->answer->records[i];
        if (question->entries.len + 17 <= RESOLVE_ADDRESSES_MAX * 17) {
            buf_append_char(&question->entries, (char)record->address_len);
            buf_append(&question->entries, record->address, record->address_len);
        }
    }
    question->secure = question->secure && result->secure;
    note_cause(question, result);
    /* One good family is enough; else a temporary failure of one weighs more than the absence of the other. */
    bool better = result->status == LOOKUP_OK ||
                  (question->status != LOOKUP_OK &&
                   (result->status == LOOKUP_TEMPORARY || result->status == LOOKUP_BOGUS ||
                    (question->status == LOOKUP_NO_DATA && result->status == LOOKUP_NO_DOMAIN)));
    if (better) {
        question->status = result->status;
    }
    question->pending--;
    if (question->pending > 0) {
        return;
    }
    struct resolve_host_answer answer = {.ticket = question->ticket,
                                         .status = status_number(question->status),
                                         .secure = question->secure,
                                         .addresses = buf_str(&question->entries),
                                         .cause = buf_str(&question->cause)};
    role_send(asker(question), &resolve_host_answer_type, &answer);
    question_free(question);
}

/* The name of an address, believed only if it leads back to the address. */

static void reverse_answer(struct question *question, enum lookup_status status)
{
    bool good = status == LOOKUP_OK;
    struct resolve_reverse_answer answer = {.ticket = question->ticket,
                                            .status = status_number(status),
                                            .name = good ? str_make(question->name, question->name_len)
                                                         : STR_EMPTY};
    role_send(asker(question), &resolve_reverse_answer_type, &answer);
    question_free(question);
}

static void confirmed(void *data, const struct lookup_result *result)
{
    struct question *question = data;
    bool found = false;
    for (size_t i = 0; result->status == LOOKUP_OK && i < result->answer->count; i++) {
        const struct dns_record *record = &result->answer->records[i];
        found = found || str_equal(str_make(record->address, record->address_len), question->address);
    }
    reverse_answer(question, found                         ? LOOKUP_OK
                             : result->status == LOOKUP_OK ? LOOKUP_NO_DATA
                                                           : result->status);
}

static void reverse_done(void *data, const struct lookup_result *result)
{
    struct question *question = data;
    struct resolver *resolver = question->role->data;
    if (result->status != LOOKUP_OK || result->answer->records[0].name_len == 0) {
        reverse_answer(question, result->status == LOOKUP_OK ? LOOKUP_NO_DATA : result->status);
        return;
    }
    const struct dns_record *record = &result->answer->records[0];
    question->name_len = record->name_len;
    memcpy(question->name, record->name, record->name_len);
    uint16_t type = question->address.len == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA;
    if (!lookup_start(resolver->lookups, str_make(question->name, question->name_len), type, confirmed,
                      question)) {
        reverse_answer(question, LOOKUP_TEMPORARY);
    }
}

/* Questions of peers. */

static const struct lookup_result overloaded = {.status = LOOKUP_TEMPORARY,
                                                .cause = {"too many DNS look-ups are under way", 35}};

static void ask_mx(struct role_peer *peer, const struct resolve_mx *ask)
{
    struct resolver *resolver = peer->role->data;
    struct question *question = question_new(peer, ask->ticket);
    if (question != NULL && !lookup_start(resolver->lookups, ask->domain, DNS_TYPE_MX, mx_done, question)) {
        mx_done(question, &overloaded);
    }
}

static void ask_host(struct role_peer *peer, const struct resolve_host *ask)
{
    static const struct {
        uint8_t bit;
        uint16_t type;
    } families[] = {{FAMILY_IPV4, DNS_TYPE_A}, {FAMILY_IPV6, DNS_TYPE_AAAA}};
    struct resolver *resolver = peer->role->data;
    struct question *question = question_new(peer, ask->ticket);
    if (question == NULL) {
        return;
    }
    uint8_t wanted = (ask->families & 3) == 0 ? FAMILY_IPV4 : ask->families;
    question->pending = (wanted & FAMILY_IPV4 ? 1U : 0U) + (wanted & FAMILY_IPV6 ? 1U : 0U);
    /* The last part frees the question, so the bits to ask for are kept apart from it. */
    for (size_t i = 0; i < 2; i++) {
        if ((wanted & families[i].bit) != 0 &&
            !lookup_start(resolver->lookups, ask->host, families[i].type, host_part_done, question)) {
            host_part_done(question, &overloaded);
        }
    }
}

static void ask_reverse(struct role_peer *peer, const struct resolve_reverse *ask)
{
    struct resolver *resolver = peer->role->data;
    struct question *question = question_new(peer, ask->ticket);
    if (question == NULL) {
        return;
    }
    if (ask->address.len != 4 && ask->address.len != 16) {
        reverse_answer(question, LOOKUP_NO_DATA);
        return;
    }
    memcpy(question->bytes, ask->address.data, ask->address.len);
    question->address = str_make(question->bytes, ask->address.len);
    char name[80];
    size_t len = dns_reverse_name(question->address, name);
    if (!lookup_start(resolver->lookups, str_make(name, len), DNS_TYPE_PTR, reverse_done, question)) {
        reverse_answer(question, LOOKUP_TEMPORARY);
    }
}

static void peer_message(struct role *role, struct role_peer *peer, const struct ipc_type *type,
                         const void *message, int fd)
{
    (void)role;
    (void)fd;
    if (type == &resolve_mx_type) {
        ask_mx(peer, message);
    } else if (type == &resolve_host_type) {
        ask_host(peer, message);
    } else if (type == &resolve_reverse_type) {
        ask_reverse(peer, message);
    }
}

static int make_lookups(struct role *role)
{
    struct resolver *resolver = role->data;
    const struct config *config = role->config;
    struct buf errors = buf_make(4096);
    struct lookup_settings settings = {.forwarders = config->dns.servers,
                                       .forwarder_count = config->dns.server_count,
                                       .stub_zones = config->dns.stub_zones,
                                       .stub_zone_count = config->dns.stub_zone_count,
                                       .dnssec = config->dns.dnssec,
                                       .trust_anchor_file = config->dns.trust_anchor,
                                       .ipv6 = config->relay.ipv6,
                                       .timeout_ms = (uint64_t)LOOKUP_TIMEOUT_MS *
                                                     config->relay.timeout_scale_percent / 100};
    resolver->lookups = lookup_new(role->loop, &settings, &errors);
    if (resolver->lookups == NULL) {
        log_error("%.*s", STR_ARGS(buf_str(&errors)));
    }
    buf_free(&errors);
    return resolver->lookups == NULL ? -1 : 0;
}

static int prepare(struct role *role)
{
    role->data = mem_new(struct resolver);
    return role->data == NULL ? -1 : make_lookups(role);
}

static int start(struct role *role)
{
    (void)role;
    return 0;
}

static void drain(struct role *role)
{
    role_drained(role, 0);
}

static const struct role_protocol protocols[] = {{ROLE_RELAY, &resolve_to_resolver},
                                                 {ROLE_SMTPD_MX, &resolve_to_resolver}};

const struct role_module role_resolver = {.kind = ROLE_RESOLVER,
                                          .protocols = protocols,
                                          .protocol_count = 2,
                                          .prepare = prepare,
                                          .start = start,
                                          .peer_message = peer_message,
                                          .drain = drain};
