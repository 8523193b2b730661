/*
 * One role in the fuzzer's own process, without its sandbox and without the others: the driver is the supervisor that sets it up
 * and every peer that talks to it. Peers are hostile: what they say comes from the fuzzer's input, but each message has passed the
 * decoder, as all do. What the role says is read, so that numbers of it (handles, tickets, segments) can come back.
 */
#ifndef VEREDUS_TESTS_FUZZ_ROLES_DRIVER_H
#define VEREDUS_TESTS_FUZZ_ROLES_DRIVER_H

#include "ipc/proto_control.h"
#include "roles/role.h"
#include "store/grant.h"

enum { DRIVER_PEERS = 8, DRIVER_NUMBERS = 32, DRIVER_SEGMENTS = 8, DRIVER_BOOT = 32 };

/* What may come from one kind of peer. */
struct driver_peer {
    enum role_kind kind;
    const struct ipc_receives *says;
    uint32_t instance;
    struct role_peer *peer;
    int far; /* the peer's end */
};

struct driver_segment {
    int64_t id;
    int64_t end;
    int fd; /* to append to; -1: free */
    size_t peer;
};

struct driver {
    struct role role;
    struct driver_peer peers[DRIVER_PEERS];
    size_t peer_count;
    struct driver_segment segments[DRIVER_SEGMENTS];
    uint64_t numbers[DRIVER_NUMBERS]; /* that the role has named */
    size_t number_count;
    uint64_t next_id;
    int control_far;
    unsigned char grant_key[GRANT_KEY_SIZE];
    /* Octets that no peer but the last argument's kind may hear (0: nobody). */
    struct {
        const char *octets;
        size_t len;
        enum role_kind but;
    } secrets[4];
    size_t secret_count;
};

/* The fuzzer's input. */
struct input {
    const uint8_t *data;
    size_t len;
};
uint8_t input_octet(struct input *input);

/* A directory of its own below /dev/shm or /tmp, and there the role up to and with start(). Aborts if that fails. */
void driver_open(struct driver *driver, const struct role_module *module, const char *config_text);
/* The parts of it, for what must be done in between. */
void driver_prepare(struct driver *driver, const struct role_module *module, const char *config_text);
void driver_secret(struct driver *driver, enum secret_kind kind, const char *name, const void *octets,
                   size_t len);
void driver_start(struct driver *driver);
void driver_add_peer(struct driver *driver, enum role_kind kind, const struct ipc_receives *says);
void driver_forbid(struct driver *driver, const void *octets, size_t len, enum role_kind but);
/* Runs what is due, reads what the role has said. */
void driver_pass(struct driver *driver);
/* Does what the input says, to its end. */
void driver_run(struct driver *driver, struct input *input);
/* Every peer ends and comes again, as another instance. */
void driver_renew_peers(struct driver *driver);
/* One input of the fuzzer, from peers that are new; `set_up` opens the role before the first. */
void driver_one(struct driver *driver, void (*set_up)(void), const uint8_t *data, size_t size);
void driver_require(bool condition);

#endif
