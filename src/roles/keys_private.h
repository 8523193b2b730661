/* What the files of the keys role share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_KEYS_PRIVATE_H
#define VEREDUS_ROLES_KEYS_PRIVATE_H

#include "ipc/proto_auth.h"
#include "ipc/proto_credential.h"
#include "roles/role.h"
#include "roles/throttle.h"
#include "store/grant.h"
#include "tls/password.h"
#include "tls/remote_key.h"

#include <pthread.h>

enum {
    SIGNERS_MAX = 64,
    ROUTES_MAX = 64,
    REMEMBERED = 4096 /* verified passwords kept as keyed hashes */
};

/* In the order in which threads take jobs. */
enum job_level { LEVEL_KNOWN, LEVEL_NEW, LEVEL_SUSPECT, LEVELS };

struct job;

struct remembered {
    uint64_t until_ms;
    uint64_t account;
    unsigned char hash[16]; /* of account, verifier and password, under a key of this process */
};

struct route_secret {
    struct buf name;
    struct buf password;
};

struct signer {
    struct loop_watch watch;
    struct keys *keys;
    int fd;
};

/* Passwords on their way through the threads. */
struct passwords {
    struct throttle *throttle;
    unsigned char memory_key[32];
    struct remembered remembered[REMEMBERED];
    struct job *waiting; /* for the store's answer */
    struct loop_timer sweep;
    size_t counts[LEVELS];
    uint64_t next_ticket;
    struct loop_watch watch;
    int event_fd;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct job *todo[LEVELS];
    unsigned suspects; /* threads that work on one */
    struct job *finished;
};

struct keys {
    struct role *role;
    struct key_ring *ring;
    bool has_pepper;
    bool has_grant_key;
    unsigned char pepper[PASSWORD_PEPPER_SIZE];
    unsigned char grant_key[GRANT_KEY_SIZE];
    struct signer *signers[SIGNERS_MAX];
    struct route_secret routes[ROUTES_MAX];
    size_t route_count;
    struct passwords passwords;
};

/* keys_passwords.c */

bool passwords_prepare(struct keys *keys);
bool passwords_start(struct keys *keys);
/* Questions of other roles, each answered once. */
void passwords_verify(struct keys *keys, struct role_peer *peer, const struct auth_verify *ask);
void passwords_make(struct keys *keys, struct role_peer *peer, const struct credential_make *ask);
/* The store's answer to a question of ours. */
void passwords_credential(struct keys *keys, const struct credential_answer *answer);
/* The password of this account (0: of any) has been changed. */
void passwords_forget(struct keys *keys, uint64_t account);
/* The store is perhaps another one: it is asked again for all that wait for its answer. */
void passwords_ask_again(struct keys *keys);

#endif
