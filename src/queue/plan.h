/*
 * Where a message for a domain goes: from DNS answers, routes and what we know of ourselves to an ordered list of hosts and
 * addresses, or to the reason why there is none (RFC 5321, section 5; RFC 7505). Pure; answers are checked again here, for
 * they came from another process that read them from the network.
 */
#ifndef VEREDUS_QUEUE_PLAN_H
#define VEREDUS_QUEUE_PLAN_H

#include "config/config.h"
#include "ipc/proto_resolve.h"

enum { PLAN_HOSTS_MAX = RESOLVE_HOSTS_MAX, PLAN_NAME_MAX = 253, PLAN_SELF_MAX = 128, PLAN_PORTS_MAX = 32 };

enum plan_verdict {
    PLAN_READY,    /* there are hosts or addresses */
    PLAN_DEFERRED, /* try again later: code 4xx */
    PLAN_FAILED    /* permanent: code 5xx */
};

struct plan_address {
    uint8_t len; /* 4 or 16 */
    unsigned char bytes[16];
};

struct plan_host {
    uint16_t preference;
    uint8_t name_len;
    char name[PLAN_NAME_MAX + 1]; /* A-labels in lower case, or an address as text */
    bool literal;                 /* `address` is known, nothing need be looked up */
    struct plan_address address;
};

/* Why there is nothing to try, in the terms of a result. */
struct plan_reason {
    unsigned code;        /* as a server would have answered: 451, 550, 556 */
    const char *enhanced; /* "5.1.2" */
    const char *text;     /* our words */
};

struct plan {
    enum plan_verdict verdict;
    struct plan_reason reason; /* unless READY */
    bool implicit;             /* no MX: the domain's own addresses (section 5.1) */
    bool secure;               /* validated by DNSSEC */
    size_t count;
    struct plan_host hosts[PLAN_HOSTS_MAX]; /* best first */
};

/* What belongs to this server: its name, its addresses, and the ports where it takes mail from others. */
struct plan_self {
    struct str name;
    size_t address_count;
    struct plan_address addresses[PLAN_SELF_MAX];
    size_t port_count;
    uint16_t ports[PLAN_PORTS_MAX];
};

/* Addresses of one host, in the order to try them. */
struct plan_addresses {
    enum plan_verdict verdict;
    struct plan_reason reason; /* unless READY */
    bool self; /* one of them is this server: this host and all of its preference and above are cut off */
    size_t count;
    struct plan_address list[RESOLVE_ADDRESSES_MAX];
};

/*
 * The MX hosts of `domain`: by preference, equal ones in an order made from `random`; those from our own preference on are
 * left out; without MX the domain itself. `port` is the one that will be connected to.
 */
void plan_from_mx(const struct resolve_mx_answer *answer, struct str domain, const struct plan_self *self,
                  unsigned port, uint64_t random, struct plan *plan);
/* An address literal "[192.0.2.1]" or "[IPv6:...]" as domain. */
void plan_from_literal(struct str domain, const struct plan_self *self, unsigned port, struct plan *plan);
/* A route or smarthost: its host is a name or an address. */
void plan_from_route(const struct config_route *route, struct plan *plan);

/*
 * The addresses of one host of the plan, IPv6 and IPv4 in turns, each in an order made from `random`. `self` NULL: no check
 * (a route may lead to this machine).
 */
void plan_addresses_from(const struct resolve_host_answer *answer, bool implicit,
                         const struct plan_self *self, unsigned port, uint64_t random,
                         struct plan_addresses *addresses);
/*
 * Takes hosts of this preference and above out, since host `at` has turned out to be this server. The plan may get empty and
 * FAILED.
 */
void plan_cut_self(struct plan *plan, size_t at);
/* Whether this address and port lead back to this server. */
bool plan_is_self(const struct plan_self *self, const struct plan_address *address, unsigned port);

#endif
