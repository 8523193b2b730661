/*
 * Look-ups through libunbound on the role's own event loop. Only the resolver role uses this.
 *
 * Set up before the sandbox: lookup_new reads the trust anchor and has libunbound open what it opens lazily.
 */
#ifndef VEREDUS_DNS_LOOKUP_H
#define VEREDUS_DNS_LOOKUP_H

#include "base/buf.h"
#include "base/loop.h"
#include "dns/answer.h"

struct lookup_settings {
    const struct str
        *forwarders; /* "192.0.2.1" or "192.0.2.1@5353"; none: ask the root servers and go down */
    size_t forwarder_count;
    const struct str *stub_zones; /* "example.org=192.0.2.1@5353" */
    size_t stub_zone_count;
    bool dnssec;
    struct str trust_anchor_file; /* with DNSKEY or DS records */
    bool ipv6;
    uint64_t timeout_ms; /* of one look-up, all its queries included */
};

enum lookup_status { LOOKUP_OK, LOOKUP_NO_DOMAIN, LOOKUP_NO_DATA, LOOKUP_TEMPORARY, LOOKUP_BOGUS };

struct lookup_result {
    enum lookup_status status;
    bool secure; /* DNSSEC-validated */
    const struct dns_answer *answer;
    struct str cause; /* in words; empty when all went well */
};

struct lookup_context;

/* NULL on failure, with the reason in `errors`. */
struct lookup_context *lookup_new(struct loop *loop, const struct lookup_settings *settings,
                                  struct buf *errors);
void lookup_free(struct lookup_context *context);
/*
 * Starts one look-up; `done` is called once, maybe before this returns. False without memory or beyond the limit of
 * look-ups under way (then `done` is not called). The name is A-labels, at most 253 bytes, checked here.
 */
bool lookup_start(struct lookup_context *context, struct str name, uint16_t type,
                  void (*done)(void *data, const struct lookup_result *result), void *data);

#endif
