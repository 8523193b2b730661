/*
 * What the files of the relay role share. Nobody else includes this.
 *
 * A job (relay_job.c) is one message for recipients of one domain, leased from the store: it looks up where to go, tries
 * hosts and addresses in order, and keeps the results until the store has committed them. A line (relay_line.c) is one
 * connection to a server with its TLS and protocol engine; it has one job at a time and waits for others in between.
 */
#ifndef VEREDUS_ROLES_RELAY_PRIVATE_H
#define VEREDUS_ROLES_RELAY_PRIVATE_H

#include "base/arena.h"
#include "config/config.h"
#include "ipc/proto_queue.h"
#include "ipc/proto_resolve.h"
#include "queue/plan.h"
#include "roles/role.h"
#include "smtp/client.h"
#include "tls/tls.h"

enum {
    RELAY_ADDRESS_TEXT = 48,
    RELAY_TLS_TEXT = 100,
    RELAY_ATTEMPTS_MAX = 12,   /* addresses tried in one attempt at a message */
    RELAY_LOOKUP_MS = 60000,   /* an answer of resolver, keys or reader */
    RELAY_IDLE_MS = 10000,     /* a connection waits so long for another message */
    RELAY_OUT_MAX = 1 << 20,   /* octets of output of a connection */
    RELAY_OUT_ENOUGH = 131072, /* no more of the message is fetched while so much has not left */
    RELAY_ORPHAN_MS = 86400000 /* results are kept so long for a store that restarts, or whose disk is full */
};

struct relay;
struct relay_line;

/* Jobs for one domain (or route): so many lines at a time, the others in their order. */
struct relay_domain {
    struct relay_domain *next;
    uint32_t hash;
    unsigned active;
    struct relay_job *first; /* waiting */
    struct relay_job **last;
    struct str name; /* behind the struct */
};

enum relay_job_state {
    JOB_RECEIVING, /* recipients are still to come */
    JOB_WAITING,   /* in its domain's list */
    JOB_MX,        /* these four wait for another role */
    JOB_CHECK,
    JOB_HOST,
    JOB_SECRET,
    JOB_ON_LINE,
    JOB_REPORTED /* every recipient is decided; the store has not acknowledged yet */
};

struct relay_result {
    struct buf packet; /* encoded queue_result; empty: not decided */
    bool sent;
};

/* Why the last host or address did not work. */
struct relay_failure {
    bool set;
    enum smtp_client_outcome outcome;
    enum smtp_client_stage stage;
    unsigned code;
    char enhanced[16];
    char text[1024];
    size_t text_len;
    char host[PLAN_NAME_MAX + 1];
    char address[RELAY_ADDRESS_TEXT];
    char tls[RELAY_TLS_TEXT];
};

/* What is needed only while a job is active. */
struct relay_way {
    struct plan plan;
    /* Hosts from the first on that are known not to be this server, or are not known at all. */
    size_t checked;
    struct plan_addresses addresses;
    struct relay_failure failure;
};

struct relay_job {
    struct relay_job *next; /* all jobs */
    struct relay_job **link;
    struct relay_job *next_waiting;
    struct relay *relay;
    struct relay_domain *domain;
    struct config *config;
    const struct config_route *route; /* NULL: by MX */
    struct arena arena;               /* texts and recipients */
    uint64_t id;
    enum relay_job_state state;
    bool orphan;       /* of a store that is gone; its results wait for the next one */
    uint32_t attempt;  /* the store's number of it */
    bool told;         /* an orphan: the next one knows that it is here */
    bool acknowledged; /* before the server had answered everything */
    struct str message_id;
    struct str domain_name;
    struct str body_grant;
    struct smtp_client_message message;
    size_t count; /* recipients told by the store */
    size_t received;
    size_t decided;
    struct smtp_client_recipient *recipients;
    struct relay_result *results;
    struct relay_way *way;
    size_t host_at;
    size_t address_at;
    unsigned attempts;
    bool without_tls;                 /* the present address: its TLS did not work, and need not */
    char tls_failure[RELAY_TLS_TEXT]; /* why; ends with NUL */
    uint64_t ticket;
    struct str password; /* of the route, in the arena */
    struct relay_line *line;
    struct loop_timer timer;
};

enum relay_line_state { LINE_CONNECTING, LINE_HANDSHAKE, LINE_TALKING, LINE_IDLE, LINE_DEAD };

struct relay_line {
    struct relay_line *next;
    struct relay_line **link;
    struct relay *relay;
    struct config *config;
    const struct config_route *route;
    struct relay_job *job;
    enum relay_line_state state;
    int fd;
    struct tls *tls;
    struct loop_watch watch;
    struct loop_timer timer;
    struct loop_task end;
    unsigned watched;
    struct smtp_client client;
    struct smtp_client_settings settings;
    struct buf login; /* copies for the engine; wiped with the line */
    struct buf password;
    struct buf out;
    size_t sent;
    bool reused;
    int refusal;       /* errno of a connection that could not be opened */
    bool driving;      /* the engine is running: its callbacks must not start it again */
    uint64_t progress; /* of the engine, when the timer was set */
    bool reading;      /* octets of the message are awaited from the reader */
    bool scanning;
    struct smtp_client_scan scan;
    uint64_t offset;
    uint64_t ticket;
    enum route_tls policy;
    struct plan_address address;
    unsigned port;
    char host[PLAN_NAME_MAX + 1];
    size_t host_len;
    char address_text[RELAY_ADDRESS_TEXT];
    char tls_text[RELAY_TLS_TEXT];
};

struct relay {
    struct role *role;
    struct tls_context *tls;
    bool has_authorities;
    struct buf authorities;
    struct plan_self self;
    struct plan_self interfaces; /* addresses of this machine, taken before the sandbox */
    struct relay_job *jobs;
    size_t job_count;
    size_t active;
    struct relay_line *lines;
    size_t line_count;
    struct relay_domain *domains;
    uint64_t next_ticket;
    struct loop_task schedule;
    uint32_t room_owed; /* that the store has not been told of yet */
    bool started;
    bool introduced; /* the store has been told what is held, and that there is room */
    bool drained;
};

/* relay.c */
void relay_schedule_soon(struct relay *relay);
void relay_give_room(struct relay *relay, uint32_t jobs);
void relay_check_drained(struct relay *relay);

/* relay_jobs.c: jobs as the store knows them. */
void relay_job_take(struct relay *relay, const struct queue_job *message);
void relay_job_take_recipient(struct relay *relay, const struct queue_recipient *message);
void relay_job_acknowledged(struct relay *relay, uint64_t id);
/* Decides one recipient; `line` NULL: no server was asked. */
void relay_job_decide(struct relay_job *job, size_t recipient, const struct smtp_client_result *result,
                      const struct relay_failure *at);
/* Gives all recipients that are not decided back to the store. */
void relay_job_release(struct relay_job *job);
/* Results that could not be sent yet. */
void relay_jobs_resend(struct relay *relay);
void relay_jobs_store_down(struct relay *relay);
/* Tells a new store of the orphans it has not heard of. False: the channel is full, call it again. */
bool relay_jobs_tell_held(struct relay *relay);
/* Gives back what has not begun. */
void relay_jobs_drain(struct relay *relay);
/* Every recipient is decided and no line has the job: only the acknowledgement is awaited. May free the job. */
void relay_job_reported(struct relay_job *job);
void relay_job_free(struct relay_job *job);
/* Starts waiting jobs as far as the limits allow. */
void relay_jobs_schedule(struct relay *relay);

/* relay_job.c: where an active job goes. */
void relay_job_start(struct relay_job *job);
void relay_job_mx_answer(struct relay *relay, const struct resolve_mx_answer *answer);
void relay_job_host_answer(struct relay *relay, const struct resolve_host_answer *answer);
void relay_job_secret_answer(struct relay *relay, const struct route_secret_answer *answer);
/* Asks again what another role, which has just come, has not answered. */
void relay_jobs_ask_again(struct relay *relay, enum role_kind kind);
/* The line with this job has ended, with client.failure set; recipients may be left. */
void relay_job_line_failed(struct relay_job *job, struct relay_line *line);
/* All recipients of a transaction are decided or must go in another one, on another connection. */
void relay_job_line_done(struct relay_job *job, struct relay_line *line);
enum route_tls relay_job_policy(const struct relay_job *job);

/* relay_line.c */
/* A new connection for the job, which is told how it went. False without memory: then it is not told. */
bool relay_line_open(struct relay_job *job, const struct plan_host *host, const struct plan_address *address,
                     unsigned port);
/* An idle line that fits, already given to the job; or NULL. */
struct relay_line *relay_line_find(struct relay_job *job, const struct plan_host *host,
                                   const struct plan_address *address, unsigned port);
/* Whether there is an idle line to this host for jobs like this one. */
bool relay_line_waits_for(const struct relay_job *job, const struct plan_host *host, unsigned port);
/* Goes on with the job that relay_line_find gave it. */
void relay_line_reuse(struct relay_line *line);
void relay_line_body(struct relay *relay, const struct body_bytes *answer);
void relay_lines_ask_again(struct relay *relay);
/* Ends idle lines: all, or those of an older configuration. */
void relay_lines_end_idle(struct relay *relay, bool old_only);
/* Ends a line that has not begun to send its job's message; the job is no longer on it. */
void relay_line_drop(struct relay_line *line);
void relay_line_describe(const struct relay_line *line, struct relay_failure *failure);
/* Whether the job's transaction has begun, so that it is finished at a drain. */
bool relay_line_committed(const struct relay_line *line);

#endif
