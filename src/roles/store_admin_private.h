/* What the files of the store's control socket share. Nobody else includes this. */
#ifndef VEREDUS_ROLES_STORE_ADMIN_PRIVATE_H
#define VEREDUS_ROLES_STORE_ADMIN_PRIVATE_H

#include "roles/store_admin.h"
#include "roles/store_private.h"

#include <jansson.h>
#include <sysexits.h>

enum {
    ADMIN_CONNECTIONS_MAX = 16,
    ADMIN_REQUEST_MAX = 65536,     /* octets of a request */
    ADMIN_ANSWER_MAX = 32 << 20,   /* octets of answers that wait for a slow command */
    ADMIN_ANSWER_HIGH = 256 << 10, /* beyond it no further rows are made until the command has read */
    ADMIN_IDLE_MS = 60000,         /* a connection that asks nothing is closed */
    ADMIN_ROLES_MAX = 128,
    ADMIN_PAGE = 500 /* rows of one step */
};

struct admin_connection;

/* What a request goes on with when it takes more than one step; one a connection. */
struct admin_job {
    int64_t entry;      /* the queue row behind which to go on */
    struct buf address; /* the account or alias behind which to go on */
    struct buf target;
    /* Which queue rows are meant. */
    bool all;
    int64_t only_entry;
    bool has_record;
    struct ident record;
    struct buf match; /* an address or a domain; empty: any */
    enum { QUEUE_LIST, QUEUE_SHOW, QUEUE_RETRY, QUEUE_HOLD, QUEUE_RELEASE, QUEUE_DROP } action;
    int64_t account; /* that is being removed, or whose entries are listed */
    int64_t mailbox; /* of the entry of an access control list behind which to go on */
    int64_t only_mailbox;
    int64_t grantee;
    bool negative;
    uint64_t matched;
    uint64_t changed;
    uint64_t under_way; /* a relay has them: left alone */
};

struct admin_connection {
    struct admin_connection *next;
    struct store_admin *admin;
    uint64_t serial;
    int fd;
    int passed_fd; /* that came with the request; -1: none */
    struct loop_watch watch;
    struct loop_timer step_timer;
    struct loop_timer idle_timer;
    struct buf in;
    struct buf out;
    bool ended;   /* the command sends nothing more */
    bool busy;    /* a request is being answered */
    bool waiting; /* for the answer of another role */
    bool waits_for_reload;
    /* True: there is more to do. It must have answered when it returns false. */
    bool (*step)(struct admin_connection *c);
    struct admin_job job;
};

/* A role as the supervisor last told it. */
struct admin_role {
    uint8_t kind;
    uint8_t state;
    uint32_t instance;
    uint32_t pid;
    uint32_t restarts;
    uint32_t generation;
};

struct store_admin {
    struct store *store;
    int listen_fd;
    struct loop_watch watch;
    struct admin_connection *connections;
    size_t connection_count;
    uint64_t next_serial;
    uint64_t started_ms;
    struct admin_role roles[ADMIN_ROLES_MAX];
    size_t role_count;
    size_t references; /* its own, and one for each password under way */
};

/* store_admin.c */

/* Answers: any number of rows, then either done (with these members too, or NULL) or an error. Take over the object. */
void admin_row(struct admin_connection *c, json_t *row);
void admin_done(struct admin_connection *c, json_t *members);
void admin_error(struct admin_connection *c, int code, const char *advice, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The index failed; says so and logs why. */
void admin_index_error(struct admin_connection *c);
/* A string value; what is no UTF-8 is escaped. */
json_t *admin_text(struct str text);
/* A string of the request's arguments; an empty slice if it is missing. */
struct str admin_argument(const json_t *arguments, const char *name);
/* `step` is called until it returns false, a pass of the loop between two calls. */
void admin_start_job(struct admin_connection *c, bool (*step)(struct admin_connection *c));
/* An answer has come from elsewhere: it is sent in the next pass. */
void admin_wake(struct admin_connection *c);
/* The connection of that number, or NULL if it is gone. */
struct admin_connection *admin_find(struct store_admin *admin, uint64_t serial);

/* A command of the socket. */
struct admin_command {
    const char *name;
    void (*run)(struct admin_connection *c, const json_t *arguments);
};

/* store_admin_accounts.c */
void admin_user_add(struct admin_connection *c, const json_t *arguments);
void admin_user_passwd(struct admin_connection *c, const json_t *arguments);
void admin_user_list(struct admin_connection *c, const json_t *arguments);
void admin_user_quota(struct admin_connection *c, const json_t *arguments);
void admin_user_disable(struct admin_connection *c, const json_t *arguments);
void admin_user_enable(struct admin_connection *c, const json_t *arguments);
void admin_user_remove(struct admin_connection *c, const json_t *arguments);
void admin_alias_add(struct admin_connection *c, const json_t *arguments);
void admin_alias_list(struct admin_connection *c, const json_t *arguments);
void admin_alias_remove(struct admin_connection *c, const json_t *arguments);
/* The account named by "address"; false after an answer. */
bool admin_take_account(struct admin_connection *c, const json_t *arguments, struct account *account);
/* Ends a transaction of one change. False, after an answer, if it could not be made. */
bool admin_finish_change(struct admin_connection *c, bool fine);
/* Lets go of a reference that a password under way held. */
void admin_release(struct store_admin *admin);

/* store_admin_acl.c */
void admin_acl_list(struct admin_connection *c, const json_t *arguments);
void admin_acl_set(struct admin_connection *c, const json_t *arguments);
void admin_acl_remove(struct admin_connection *c, const json_t *arguments);

/* store_admin_import.c */
void admin_import_mailbox(struct admin_connection *c, const json_t *arguments);
void admin_import_messages(struct admin_connection *c, const json_t *arguments);

/* store_admin_queue.c */
void admin_queue_list(struct admin_connection *c, const json_t *arguments);
void admin_queue_show(struct admin_connection *c, const json_t *arguments);
void admin_queue_retry(struct admin_connection *c, const json_t *arguments);
void admin_queue_hold(struct admin_connection *c, const json_t *arguments);
void admin_queue_release(struct admin_connection *c, const json_t *arguments);
void admin_queue_drop(struct admin_connection *c, const json_t *arguments);
void admin_trace(struct admin_connection *c, const json_t *arguments);

#endif
