/* The story of one seed, as sim_world.c plays it, sim_server.c serves it and sim_watch.c sees it. */
#ifndef VEREDUS_TESTS_ROLES_SIM_STORY_H
#define VEREDUS_TESTS_ROLES_SIM_STORY_H

#include "sim.h"

#include "base/ident.h"
#include "base/mem.h"
#include "config/config.h"
#include "store/grant.h"

enum { LETTERS_MAX = 24, RCPTS_MAX = 6 };

struct letter;

struct rcpt {
    struct letter *letter;
    struct sim_domain *domain;
    char address[80];
    uint8_t notify;
    unsigned copies;
    unsigned uncertain; /* reasons for a copy more */
    unsigned failed;    /* notices */
    unsigned delayed;
    unsigned relayed;
    uint64_t copied_us; /* when these first came about */
    uint64_t failed_us;
    uint64_t delayed_us;
    bool refused_for_good; /* a 5xx that concerns it was told */
    bool dropped;          /* by command */
    bool may_be_held;
    uint64_t first_ms; /* as the store has it */
    uint64_t live_job; /* a relay has it */
    uint32_t live_relay;
    enum { IDLE, TAKEN, TOLD } holder; /* a server has taken it; the store has heard */
    uint32_t told_by;
    bool passed;  /* the last server that took it does DSN */
    bool late;    /* an attempt failed after four hours */
    bool unclear; /* so near to four hours that either will do */
    unsigned attempts;
    unsigned deferred;
    unsigned unacknowledged; /* of them, told to the store that lives */
    unsigned unknown;        /* of them, told to stores that died: committed or not */
    uint64_t deferred_us;    /* the last time; 0: never, or it is not known when it may be tried again */
    uint64_t deferred_wall_ms;
    bool hurried; /* a command has changed when it is tried */
};

struct letter {
    unsigned number;
    char sender[64];
    bool local; /* the sender has a mailbox here */
    struct ident id;
    bool accepted;
    void (*trouble)(void *context); /* soon after it was accepted */
    struct rcpt rcpts[RCPTS_MAX];
    size_t rcpt_count;
};

struct sim_story {
    struct letter letters[LETTERS_MAX];
    size_t letter_count;
    struct config *config;
    struct sim_totals totals;
    char failure[400]; /* the first; empty: none */
    char last_notice[16384];
    uint64_t lifetime_ms;
    uint64_t delay_ms;
    uint64_t disturbed_us; /* when anything last kept the server from its work */
    bool clock_stepped;
    char dir[80];
    unsigned char key[GRANT_KEY_SIZE];
};
extern struct sim_story story;

/* Every recipient: `step` is called with each. */
#define FOR_EACH_RCPT(r)                                                                                     \
    for (size_t l_ = 0; l_ < story.letter_count; l_++)                                                       \
        for (struct rcpt *r = story.letters[l_].rcpts;                                                       \
             r < story.letters[l_].rcpts + story.letters[l_].rcpt_count; r++)

/* sim_watch.c */

/* Begins to watch the roles. */
void sim_watch_begin(void);
/* Something does not hold: the story ends. */
void sim_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line for who looks on. */
void sim_tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sim_disturb(void);
/* At the end: all that must hold. */
void sim_check_all(void);

/* sim_server.c */

void sim_server_begin(void);
/* Starts store and relay in the directory; false: it cannot begin. */
bool sim_server_start(void);
void sim_release_all(void);

/* What happens at a time; sim_accept_letter's context is the letter, the others have none. */
void sim_accept_letter(void *context);
void sim_kill_store(void *context);
void sim_kill_relay(void *context);
void sim_kill_both(void *context);
void sim_fill_disk(void *context);
void sim_fail_write(void *context);
void sim_step_clock(void *context);
void sim_give_command(void *context);

#endif
