/*
 * A simulation of the queue (goal G9): the store and relay roles as they are, with their clock, loop, channels, sockets,
 * randomness, disk and memory replaced, so that days pass in milliseconds and everything follows from a seed.
 *
 * sim_runtime.c has what surrounds a process, sim_loop.c time, sim_roles.c processes and channels; sim_net.c the DNS and other
 * people's servers; sim_world.c the story of a seed (sim_story.h).
 */
#ifndef VEREDUS_TESTS_ROLES_SIM_H
#define VEREDUS_TESTS_ROLES_SIM_H

#include "roles/role.h"

#include <stdio.h>

/* Time in microseconds of the simulation; the wall clock is a base and an offset that steps. */
enum { SIM_MS = 1000, SIM_FDS = 1024 };
#define SIM_SECOND 1000000ULL
#define SIM_MINUTE (60 * SIM_SECOND)
#define SIM_HOUR   (60 * SIM_MINUTE)
#define SIM_DAY    (24 * SIM_HOUR)

struct sim_process;
struct sim_event;

/* One side of a pair of channels that is no role: what comes to it goes to `take`. */
struct sim_actor {
    enum role_kind kind;
    uint32_t instance;
    void (*take)(struct sim_actor *actor, struct channel *from, const struct ipc_type *type,
                 const void *message, int fd);
    void (*up)(struct sim_actor *actor, struct channel *to);
    void (*down)(struct sim_actor *actor, struct channel *to);
    struct channel *store; /* for those that speak to it */
};

extern bool sim_verbose;
extern bool sim_disk_full;
extern bool sim_disk_honest;     /* a full disk is told as such, or only found by writing */
extern uint32_t sim_write_fault; /* the n-th write from now fails, once; 0: none */
extern uint64_t sim_key_seed;

void sim_reset(uint64_t seed);
void sim_end(void);
uint64_t sim_now(void);
uint64_t sim_wall_ms(void);
void sim_step_wall(int64_t ms);
uint64_t sim_random(void);
uint32_t sim_below(uint32_t n);
/* True n times in a thousand. */
bool sim_chance(uint32_t n);

/* `owner` NULL: the world's; otherwise it is forgotten when that process ends. */
struct sim_event *sim_at(uint64_t us, struct sim_process *owner, void (*run)(void *context), void *context);
/* Runs one event; false if there is none before `until`. */
bool sim_step(uint64_t until);

/* Starts a role; NULL if it did not come up. `config` is shared by all. */
struct sim_process *sim_start(const struct role_module *module, struct config *config, const char *dir,
                              const unsigned char key[32], struct sim_actor *const *actors,
                              size_t actor_count);
void sim_kill(struct sim_process *process);
void sim_drain(struct sim_process *process);
struct role *sim_role(struct sim_process *process);
/* The process of that kind, or NULL; a process that ended by itself is NULL too. */
struct sim_process *sim_of(enum role_kind kind);
bool sim_alive(const struct sim_process *process);
/* What a repeating timer looks at has changed: it is no longer idle. */
void sim_wake(struct sim_process *process);
void sim_own_fd(int fd);

/* Work inside a process: memory that is allocated then belongs to it. */
void sim_enter(struct sim_process *process);
void sim_leave(void);

/* Called for each message between two sides, when it arrives. */
extern void (*sim_watch_message)(enum role_kind from, enum role_kind to, const struct ipc_type *type,
                                 const void *message);
/* Called when a role is about to be gone. */
extern void (*sim_watch_end)(struct sim_process *process, enum role_kind kind, uint32_t instance);

/* sim_net.c */

void sim_net_reset(void);
void sim_net_end(void);
/* A relay is gone: its connections end. */
void sim_net_process_gone(struct sim_process *process);
struct sim_process *sim_current(void);
int sim_watch_fd(struct loop_watch *watch, int fd, unsigned what);
void sim_unwatch_fd(int fd);

/* Steps of a session with a server, and what it does there. */
enum sim_step {
    STEP_GREETING,
    STEP_HELLO,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_BODY,
    STEP_FINAL,
    STEP_COUNT
};
enum sim_fate { FATE_GOOD, FATE_TEMPORARY, FATE_PERMANENT, FATE_DROP, FATE_HANG, FATE_TAKEN_AND_LOST };

/* What a server of the simulation is like. */
struct sim_host {
    char name[40];
    unsigned char address[4];
    uint32_t fault;     /* at each step, in a thousand */
    uint32_t late_drop; /* the connection is lost after the message was taken, in a thousand */
    bool dead;          /* answers nobody */
    bool greylists;
    uint32_t permanent; /* share of faults that are 5xx, in a thousand */
    uint64_t down_from; /* not there in between */
    uint64_t down_until;
    bool pipelining, dsn, chunking, esmtp;
    uint32_t rcpt_limit; /* 0: none */
    /* For a scenario: at this step this happens, so many times. */
    enum sim_step step;
    enum sim_fate fate;
    uint32_t times;
};

struct sim_domain {
    char name[40];
    enum { DNS_MX, DNS_ADDRESS_ONLY, DNS_NONE, DNS_NULL_MX, DNS_FAILS_AT_TIMES } dns;
    size_t host_count;
    struct sim_host *hosts[3];
    bool permanent_seen; /* a 5xx or NXDOMAIN was told: a bounce may come early */
};

extern struct sim_domain sim_domains[];
extern size_t sim_domain_count;
extern bool sim_faults; /* servers and DNS misbehave */

struct sim_domain *sim_domain_add(const char *name);
struct sim_host *sim_host_add(struct sim_domain *domain);
extern struct sim_actor sim_resolver;

/* What servers tell the world. `message` is all of it, dots undone. */
void sim_world_taken(struct str sender, struct str recipient, struct str message, uint64_t transaction);
/* The connection was lost before the answer was sent. */
void sim_world_uncertain(struct str recipient, struct str message);

/* sim_world.c */

struct sim_totals {
    unsigned messages, recipients, attempts, copies, doubles, bounces, delays, successes, restarts, full,
        commands;
    unsigned uncertain;
};

/* One letter from ann@home.example to users of one domain with one server, without other faults. */
struct sim_scenario {
    struct sim_host host; /* what matters of it */
    const char *sender;   /* NULL: ann@home.example */
    unsigned recipients;
    uint8_t notify;
};
struct sim_outcome {
    unsigned copies, failed, delayed, relayed, uncertain; /* of the first recipient */
    uint64_t copied_us, failed_us, delayed_us;            /* when it first came about */
    unsigned attempts;
    char notice[16384]; /* the last one */
};
/* False after a line about what does not hold of any letter, whatever is expected of this one. */
bool sim_play(const struct sim_scenario *scenario, struct sim_outcome *outcome);

/* Runs one seed; false after a line about what does not hold. */
bool sim_run(uint64_t seed, struct sim_totals *totals);

#endif
