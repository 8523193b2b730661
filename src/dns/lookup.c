/* Look-ups through libunbound; see lookup.h. */
#include "dns/lookup.h"

#include "base/log.h"
#include "base/mem.h"

#include <fcntl.h>
#include <unbound-event.h>
#include <unbound.h>
#include <unistd.h>

enum { UNDER_WAY_MAX = 4096, ANCHOR_FILE_MAX = 65536, CLASS_IN = 1, RCODE_NXDOMAIN = 3, RCODE_OK = 0 };

struct lookup_context {
    struct loop *loop;
    struct ub_ctx *unbound;
    uint64_t timeout_ms;
    size_t under_way;
};

struct query {
    struct lookup_context *context;
    struct loop_timer timer;
    void (*done)(void *data, const struct lookup_result *result);
    void *data;
    uint16_t type;
    int async_id;
    bool finished; /* the asker has its answer */
    bool starting; /* ub_resolve_event has not returned */
    bool answered; /* libunbound has called back and will not again */
    char name[DNS_NAME_MAX + 1];
};

static void query_free_when_over(struct query *query)
{
    if (query->finished && query->answered && !query->starting) {
        loop_timer_stop(&query->timer);
        query->context->under_way--;
        mem_free(query);
    }
}

static void finish(struct query *query, const struct lookup_result *result)
{
    if (!query->finished) {
        query->finished = true;
        loop_timer_stop(&query->timer);
        query->done(query->data, result);
    }
}

static void fail(struct query *query, enum lookup_status status, struct str cause)
{
    struct lookup_result result = {.status = status, .cause = cause};
    finish(query, &result);
}

static void read_answer(struct query *query, struct str packet, bool secure)
{
    struct dns_answer answer;
    if (!dns_answer_read(packet, query->type, &answer)) {
        fail(query, LOOKUP_TEMPORARY, STR("the DNS answer is malformed"));
        return;
    }
    struct lookup_result result = {.status = answer.count > 0 ? LOOKUP_OK : LOOKUP_NO_DATA,
                                   .secure = secure,
                                   .answer = &answer,
                                   .cause = STR_EMPTY};
    finish(query, &result);
}

static void unbound_answered(void *data, int rcode, void *packet, int packet_len, int security,
                             char *why_bogus, int was_ratelimited)
{
    struct query *query = data;
    query->answered = true;
    if (query->finished) {
        query_free_when_over(query);
        return;
    }
    /* libunbound reports its own failures by rcode; what the servers said stands in the packet alone. */
    if (rcode == RCODE_OK && packet != NULL && packet_len >= 4) {
        rcode = ((const unsigned char *)packet)[3] & 0x0f;
    }
    if (was_ratelimited) {
        fail(query, LOOKUP_TEMPORARY, STR("too many DNS queries are under way"));
    } else if (security == 1) {
        struct str why = why_bogus == NULL ? STR("DNSSEC validation failed") : str_of(why_bogus);
        fail(query, LOOKUP_BOGUS, str_sub(why, 0, 240));
    } else if (rcode == RCODE_NXDOMAIN) {
        struct lookup_result result = {
            .status = LOOKUP_NO_DOMAIN, .secure = security == 2, .cause = STR("the name does not exist")};
        finish(query, &result);
    } else if (rcode != RCODE_OK || packet == NULL || packet_len <= 0) {
        fail(query, LOOKUP_TEMPORARY,
             rcode == 2 ? STR("the name servers of the domain fail or do not answer (SERVFAIL)")
                        : STR("the name servers refuse to answer"));
    } else {
        read_answer(query, str_make(packet, (size_t)packet_len), security == 2);
    }
    query_free_when_over(query);
}

static void timed_out(void *context)
{
    struct query *query = context;
    fail(query, LOOKUP_TEMPORARY, STR("the name servers of the domain did not answer in time"));
    if (!query->answered) {
        ub_cancel(query->context->unbound, query->async_id);
        query->answered = true; /* a cancelled query never calls back */
    }
    query_free_when_over(query);
}

static bool is_host_name(struct str name)
{
    if (name.len == 0 || name.len > 253) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!ascii_is_alnum(c) && c != '-' && c != '_' && c != '.') {
            return false;
        }
    }
    return true;
}

bool lookup_start(struct lookup_context *context, struct str name, uint16_t type,
                  void (*done)(void *data, const struct lookup_result *result), void *data)
{
    if (!is_host_name(name)) {
        struct lookup_result result = {.status = LOOKUP_NO_DOMAIN,
                                       .cause = STR("the name is not a valid DNS name")};
        done(data, &result);
        return true;
    }
    struct query *query = context->under_way < UNDER_WAY_MAX ? mem_new(struct query) : NULL;
    if (query == NULL) {
        return false;
    }
    *query = (struct query){.context = context, .done = done, .data = data, .type = type, .starting = true};
    memcpy(query->name, name.data, name.len);
    context->under_way++;
    loop_timer_start(context->loop, &query->timer, context->timeout_ms, false, timed_out, query);
    int code = ub_resolve_event(context->unbound, query->name, type, CLASS_IN, query, unbound_answered,
                                &query->async_id);
    query->starting = false;
    if (code != 0 && !query->answered) {
        query->answered = true;
        fail(query, LOOKUP_TEMPORARY, STR("the resolver cannot start the look-up"));
    }
    query_free_when_over(query);
    return true;
}

static bool option(struct ub_ctx *unbound, const char *name, const char *value)
{
    return ub_ctx_set_option(unbound, name, value) == 0;
}

/* A NUL-terminated copy for libunbound, valid until the next call; false if it is too long. */
static bool to_text(struct str s, char *text, size_t size)
{
    if (s.len >= size || memchr(s.data, '\0', s.len) != NULL) {
        return false;
    }
    memcpy(text, s.data, s.len);
    text[s.len] = '\0';
    return true;
}

static bool set_servers(struct ub_ctx *unbound, const struct lookup_settings *settings, struct buf *errors)
{
    char text[512];
    for (size_t i = 0; i < settings->forwarder_count; i++) {
        if (!to_text(settings->forwarders[i], text, sizeof(text)) || ub_ctx_set_fwd(unbound, text) != 0) {
            buf_printf(errors, "dns: \"%.*s\" is not a server address such as 192.0.2.1 or 192.0.2.1@5353\n",
                       STR_ARGS(settings->forwarders[i]));
            return false;
        }
    }
    for (size_t i = 0; i < settings->stub_zone_count; i++) {
        struct str rest = settings->stub_zones[i];
        struct str zone;
        char zone_text[256];
        if (!str_split(&rest, '=', &zone) || rest.data == NULL ||
            !to_text(zone, zone_text, sizeof(zone_text)) || !to_text(rest, text, sizeof(text)) ||
            ub_ctx_set_stub(unbound, zone_text, text, 0) != 0) {
            buf_printf(errors, "dns: \"%.*s\" is not a stub zone such as example.org=192.0.2.1@5353\n",
                       STR_ARGS(settings->stub_zones[i]));
            return false;
        }
    }
    return true;
}

/* Each line of the trust anchor file that holds a record goes to libunbound, so it need not open the file later. */
static bool add_anchors(struct ub_ctx *unbound, struct str file, struct buf *errors)
{
    char path[512];
    struct buf text = buf_make(ANCHOR_FILE_MAX);
    int fd = to_text(file, path, sizeof(path)) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = 0;
    while (fd >= 0) {
        char *room = buf_reserve(&text, 4096);
        n = room == NULL ? -1 : read(fd, room, 4096);
        if (n <= 0) {
            break;
        }
        text.len += (size_t)n;
    }
    size_t anchors = 0;
    struct str rest = buf_str(&text);
    struct str line;
    while (fd >= 0 && n == 0 && str_split(&rest, '\n', &line)) {
        char record[4096];
        line = str_trim(line);
        if (line.len > 0 && line.data[0] != ';' && to_text(line, record, sizeof(record)) &&
            ub_ctx_add_ta(unbound, record) == 0) {
            anchors++;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    buf_free(&text);
    if (anchors == 0) {
        buf_printf(
            errors,
            "dns: no trust anchor can be read from \"%.*s\"; install the package dns-root-data, or set "
            "dnssec = false\n",
            STR_ARGS(file));
        return false;
    }
    return true;
}

static void first_answer(void *data, const struct lookup_result *result)
{
    (void)result;
    *(bool *)data = true;
}

/* libunbound reads its files and seeds itself at the first question: this one needs no network. */
static void finalize(struct lookup_context *context)
{
    bool answered = false;
    lookup_start(context, STR("localhost"), DNS_TYPE_A, first_answer, &answered);
    for (int i = 0; i < 100 && !answered; i++) {
        loop_pass(context->loop, false);
    }
}

struct lookup_context *lookup_new(struct loop *loop, const struct lookup_settings *settings,
                                  struct buf *errors)
{
    struct lookup_context *context = mem_new(struct lookup_context);
    struct ub_ctx *unbound = context == NULL ? NULL : ub_ctx_create_event(loop_base(loop));
    if (unbound == NULL) {
        mem_free(context);
        buf_append_lit(errors, "dns: the resolver library cannot be started: out of memory\n");
        return NULL;
    }
    *context = (struct lookup_context){.loop = loop, .unbound = unbound, .timeout_ms = settings->timeout_ms};
    /* Forwarders and stubs on the loopback are what a small set-up and every test have. */
    bool fine =
        option(unbound, "do-not-query-localhost:", "no") && option(unbound, "edns-buffer-size:", "1232") &&
        option(unbound, "cache-max-negative-ttl:", "300") && option(unbound, "qname-minimisation:", "yes") &&
        option(unbound, "module-config:", settings->dnssec ? "validator iterator" : "iterator") &&
        option(unbound, "do-ip6:", settings->ipv6 ? "yes" : "no");
    if (!fine) {
        buf_append_lit(errors, "dns: the resolver library refuses its options\n");
    }
    fine = fine && set_servers(unbound, settings, errors) &&
           (!settings->dnssec || add_anchors(unbound, settings->trust_anchor_file, errors));
    if (!fine) {
        lookup_free(context);
        return NULL;
    }
    finalize(context);
    return context;
}

void lookup_free(struct lookup_context *context)
{
    if (context != NULL) {
        ub_ctx_delete(context->unbound);
        mem_free(context);
    }
}
