/* What the simulation's parts know of each other: sim_runtime.c, sim_loop.c and sim_roles.c. */
#ifndef VEREDUS_TESTS_ROLES_SIM_PRIVATE_H
#define VEREDUS_TESTS_ROLES_SIM_PRIVATE_H

#include "sim.h"

/* Memory of a process, before each allocation; the head of the ring is in struct sim_process. */
struct piece {
    struct piece *next;
    struct piece *before;
    struct piece *list; /* head of its owner's ring */
    size_t size;
} __attribute__((aligned(16)));

struct loop {
    struct sim_process *process;
    struct loop_task *first;
    struct loop_task **last;
    bool stopped;
};

struct sim_process {
    struct sim_process *next;
    struct role role;
    struct loop loop;
    struct piece memory;
    unsigned idle; /* repeats since something else happened */
    bool alive;
};

struct sim_event {
    uint64_t at;
    uint64_t serial;
    struct sim_process *owner;
    void (*run)(void *context);
    void *context;
    uint64_t repeat_us;
    bool cancelled;
    bool sleeping; /* a repeating timer with nothing to look at */
    bool once;     /* started again each time by whoever it calls: it may sleep all the same */
};

/* sim_runtime.c */

void sim_runtime_reset(uint64_t seed);
void sim_runtime_end(void);
void sim_free_memory(struct piece *list);
/* The world's, or the store's. */
void sim_give_fd(int fd, bool keep);
/* The descriptors that a killed store had. */
void sim_close_left_over(void);

/* sim_loop.c */

void sim_loop_reset(void);
void sim_run_tasks(struct loop *loop);
void sim_forget_events(struct sim_process *process);
/* The next one, for whoever frees it; NULL: there is none. */
struct sim_event *sim_take_event(void);

#endif
