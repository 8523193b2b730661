/*
 * What the files of the IMAP server engine share. Nobody else includes this.
 *
 * A command is a function that reads its arguments and either finishes at once (imap_ok, imap_no, imap_bad) or asks a question: it
 * sets server->ask and server->proceed and returns the request; `proceed` is called when the answer is there (server->answer),
 * and does the same. Each way ends in imap_finish, which brings the view of the selected mailbox up to date and then sends
 * the tagged reply.
 */
#ifndef VEREDUS_IMAP_SERVER_PRIVATE_H
#define VEREDUS_IMAP_SERVER_PRIVATE_H

#include "base/arena.h"
#include "imap/scan.h"
#include "imap/server.h"

enum imap_state { IMAP_NOT_AUTHENTICATED = 1, IMAP_AUTHENTICATED = 2, IMAP_SELECTED = 4 };
enum { IMAP_ANY_STATE = 7, IMAP_LOGGED_IN = 6 };

enum imap_enabled { /* ENABLE, RFC 5161 */
                    IMAP_ENABLED_CONDSTORE = 1,
                    IMAP_ENABLED_QRESYNC = 2,
                    IMAP_ENABLED_UTF8 = 4,
                    IMAP_ENABLED_REV2 = 8,
                    IMAP_ENABLED_UIDONLY = 16
};

enum imap_command_flag {
    IMAP_BY_UID = 1,     /* may stand behind UID */
    IMAP_NO_EXPUNGE = 2, /* without UID: no EXPUNGE may be sent while it runs (RFC 9051, section 7.5.1) */
    IMAP_LARGE = 4,      /* its literals may be as large as a message */
    IMAP_BY_NUMBER = 8   /* without UID it names messages by number: not with UIDONLY */
};

struct imap_command {
    struct str name;
    unsigned states; /* enum imap_state */
    unsigned flags;
    enum imap_request (*run)(struct imap_server *s, struct imap_scan *scan, struct buf *out);
};

/* A copy of a row; name and keywords are behind each other in server->names. */
struct imap_kept_row {
    struct imap_row row;
    size_t name_at;
    size_t keywords_at;
};

/* Reading a command: lines and literals. */
struct imap_reader {
    struct buf text;       /* of the command so far */
    size_t line_at;        /* where its last line begins, behind the last literal */
    uint64_t literal_left; /* octets of the literal under way */
    uint64_t discard_left; /* of one that was refused */
    bool discarding; /* of a line that was refused: up to its end, with the literals that it announces */
    char tail[24];   /* the last octets of the line that is thrown away: room for "{n+}" CR */
    size_t tail_len;
    uint64_t discarded; /* octets, in this session */
};

struct imap_selected {
    bool read_only;  /* opened with EXAMINE, or the account may change nothing */
    uint32_t rights; /* enum right: what the account may do, as it was when last looked at */
    struct buf name; /* UTF-8 */
    struct buf keywords;
    bool new_keywords; /* that have not been told; or the rights have changed */
    bool tell_modseq;  /* HIGHESTMODSEQ is to be told, as CONDSTORE has been enabled */
    unsigned char id[IMAP_MAILBOX_ID_SIZE];
    uint32_t uid_validity;
    uint32_t uid_next;
    struct imap_view view;
    struct imap_set saved;         /* RFC 5182 */
    struct buf vanished;           /* packed ranges that are to be told as VANISHED (EARLIER) or VANISHED */
    struct imap_context *contexts; /* searches that are kept up to date (RFC 5267) */
};

struct imap_context;
struct imap_notify;

struct imap_server {
    const struct imap_settings *settings;
    enum imap_state state;
    unsigned enabled; /* enum imap_enabled */
    bool tls;
    bool closed;
    bool news; /* the selected mailbox has changed */
    bool idling;
    bool compressed;
    bool before_command; /* the view is brought up to date before the command runs */
    bool by_uid;         /* the command under way stands behind UID */
    bool own_change;     /* it has changed the selected mailbox */
    uint32_t
        limited_uid; /* the lowest UID that it has worked on, as there were more messages than it may; 0: all */
    bool all_flags;             /* it tells changed flags even if the client wants no news of them */
    struct imap_notify *notify; /* NULL: the client has not used NOTIFY */
    unsigned account_news;      /* enum imap_news that have not been looked at */
    size_t new_from; /* of the view: the first of the messages that have just been told; SIZE_MAX: none */
    enum imap_request waiting; /* what the role has been asked and has not answered */
    enum imap_request next;    /* what it is to be asked at the next run, after an answer */
    bool has_next;
    enum imap_answer answer;
    uint64_t value;
    unsigned errors;
    unsigned auth_failures;
    uint64_t opened_ms;
    uint64_t now_ms;
    uint64_t wall_ms;
    uint64_t activity_ms;
    const char *close_reason;
    struct buf wrong_door; /* what a client was told that should be elsewhere */
    struct imap_reader reader;
    struct arena arena; /* of the command under way */
    const struct imap_command *command;
    struct str tag;
    struct buf reply; /* the tagged reply that waits for the view */
    struct imap_ask ask;
    /* Called once the question has been answered. */
    enum imap_request (*proceed)(struct imap_server *s, struct buf *out);
    struct buf login_name;
    struct buf login_password;
    struct buf login;
    struct buf grant;
    struct sasl *sasl;
    struct imap_kept_row *rows;
    size_t row_count;
    size_t row_room;
    struct buf names;
    struct imap_changed changed; /* its slices live during proceed only */
    struct imap_selected selected;
    bool has_aside; /* another mailbox stands in its place, and it here */
    struct imap_selected aside;
    enum imap_request (*after_sync)(struct imap_server *s, struct buf *out);
    size_t sync_at;            /* how far the view's changes have been told */
    uint64_t used_octets;      /* by the account; with the answer to IMAP_LIST */
    uint64_t quota_octets;     /* 0: no limit */
    uint64_t progress_ms;      /* when it was last said that the command is under way (RFC 9585) */
    uint64_t progress_done;    /* messages */
    uint64_t progress_goal;    /* 0: not known */
    struct str search_charset; /* of the command under way; empty: UTF-8 */
    struct imap_set uids;      /* of the command under way */
    struct imap_set numbers;
    /* context.c: the update under way */
    struct imap_context *context;
    struct imap_set context_good;
    struct buf context_text;
    struct imap_message context_message;
    const struct imap_entry *context_entry;
    bool context_failed;
    void *data; /* the command's own state */
    void (*free_data)(void *data);
    /* Of the command that reads messages. */
    bool (*message)(struct imap_server *s, const struct imap_message *message, struct buf *out);
    bool (*bytes)(struct imap_server *s, struct str bytes, bool last, struct buf *out);
    bool (*annotation)(struct imap_server *s, struct str mailbox, struct str entry, struct str value);
    bool (*rights)(struct imap_server *s, struct str identifier, uint32_t rights);
};

/* server.c */

/* Ask; `proceed` goes on with the answer. */
enum imap_request imap_ask(struct imap_server *s, enum imap_request request,
                           enum imap_request (*proceed)(struct imap_server *s, struct buf *out));
/* The end of a command: the tagged reply, after the view's news. `code`: "[...] " or empty. */
enum imap_request imap_ok(struct imap_server *s, struct buf *out, const char *code, const char *text);
enum imap_request imap_no(struct imap_server *s, struct buf *out, const char *code, const char *text);
/* The command is not understood; `scan` (may be NULL) says what was expected. */
enum imap_request imap_bad(struct imap_server *s, struct buf *out, const struct imap_scan *scan,
                           const char *text);
/* NO with the response code and words for an answer that is not IMAP_DONE. `try_create`: NONEXISTENT is about a destination. */
enum imap_request imap_no_answer(struct imap_server *s, struct buf *out, enum imap_answer answer,
                                 bool try_create);
/* As imap_ok, where server->reply has been filled with "tag OK ..." and CRLF by imap_reply_begin and buf_append. */
struct buf *imap_reply_begin(struct imap_server *s, const char *word);
enum imap_request imap_reply_end(struct imap_server *s, struct buf *out);
/* The same without looking for news: nothing may stand between the reply and what comes behind it. */
void imap_reply_now(struct imap_server *s, struct buf *out);
/* "* BYE text": the session is over. */
enum imap_request imap_bye(struct imap_server *s, struct buf *out, const char *text, const char *reason);
/* The first command that knows of modification sequences is told the highest one (RFC 7162, section 3.1.2.1). */
void imap_enable_condstore(struct imap_server *s);
/* Reads " set" and makes server->uids of it (of messages that are there). False: the command has been answered, *request. */
bool imap_take_set(struct imap_server *s, struct imap_scan *scan, struct buf *out,
                   enum imap_request *request);
/*
 * RFC 9738: leaves as many of the messages, the newest, as one command may work on; the reply says so. False: no memory.
 */
bool imap_limit_set(struct imap_server *s, struct imap_set *uids);
/* Whether these are more messages than one command may work on. */
bool imap_is_over_limit(const struct imap_server *s, uint64_t messages);
/* The reply to a command that works on all or none. */
enum imap_request imap_no_limit(struct imap_server *s, struct buf *out);
/* The command under way has state of its own, which goes with it. NULL without memory. */
void *imap_command_data(struct imap_server *s, size_t size, void (*free_data)(void *data));
/* Frees what a command or a look at news worked with, but its tag and text. */
void imap_forget_work(struct imap_server *s);
/* No command is under way nor comes in. */
bool imap_is_at_rest(const struct imap_server *s);
/* Forgets the text of the command, whose arguments have been used: the client's next lines belong to it. */
void imap_reader_reset(struct imap_server *s);
/* Whether this is the name of the selected mailbox. */
bool imap_is_selected(const struct imap_server *s, struct str name);
/* Gives rows their names again, after rows have been added. */
void imap_settle_rows(struct imap_server *s);
bool imap_is_enabled(const struct imap_server *s, unsigned what);

/* capability.c */
void imap_capabilities(const struct imap_server *s, struct buf *out);
/* The greeting's and a login's "[CAPABILITY ...] ". */
void imap_capability_code(const struct imap_server *s, struct buf *out);
extern const struct imap_command imap_commands[];
extern const size_t imap_command_count;

/* quirks.c: habits of clients. */

/* A line where a command should begin that is none, and is passed over without an answer. */
bool imap_quirk_is_no_command(struct str line);
/* A command's text without the spaces at its end; its last line begins at `line_at`, behind the last literal. */
struct str imap_quirk_trim(struct str text, size_t line_at);

/* sync.c: what is told of the selected mailbox. */

/* Brings the view up to date and tells the client, then goes on with `then`. */
enum imap_request imap_sync(struct imap_server *s, struct buf *out,
                            enum imap_request (*then)(struct imap_server *s, struct buf *out));
/* "(\Seen $Junk)" */
void imap_write_flags(const struct imap_server *s, uint64_t flags, bool recent, struct buf *out);
/* The bit of a flag of the selected mailbox; 0 if it has no such. */
uint64_t imap_flag_bit(const struct imap_server *s, struct str name);
/*
 * Reads "(\Seen $Junk)" or, where `bare`, the flags without brackets: system flags as bits, keywords as names each ended by a space
 * (in the arena). \Recent is passed over.
 */
bool imap_scan_flags(struct imap_server *s, struct imap_scan *scan, bool bare, uint64_t *flags,
                     struct str *keywords);
/* Appends packed ranges as "1:3,5". */
void imap_write_packed(struct str packed, struct buf *out);
/* Takes one range from the front of packed ones. */
bool imap_next_packed(struct str *packed, struct imap_range *range);
void imap_deselect(struct imap_server *s);
/* Puts an empty mailbox in the place of the selected one, for a command that looks into another; and takes it away again. */
void imap_enter_aside(struct imap_server *s);
void imap_leave_aside(struct imap_server *s);

/* notify.c: what the client hears of without asking (RFC 5465). */

void imap_notify_free(struct imap_server *s);
/* Whether something is to be told now: no command is under way, or IDLE. */
bool imap_notify_is_due(const struct imap_server *s);
enum imap_request imap_notify_tell(struct imap_server *s, struct buf *out);
/* A change of the client's has been made: ask.change. */
void imap_notify_own(struct imap_server *s, const struct imap_changed *changed);
/* Whether news of the selected mailbox are not to be told. */
bool imap_notify_ignores(const struct imap_server *s);
/* Whether that messages are gone has to wait for a command. */
bool imap_notify_delays(const struct imap_server *s);
bool imap_notify_tells_flags(const struct imap_server *s, uint32_t uid);
/* After changes have been told: what is wanted of new messages; goes on with imap_contexts_fetch. */
enum imap_request imap_notify_fetch(struct imap_server *s, struct buf *out);

/* context.c: searches whose results are kept up to date. */

void imap_contexts_free(struct imap_server *s);
/* Before messages that are gone are told. */
void imap_contexts_expunge(struct imap_server *s, struct buf *out);
/* After changes have been told; goes on with imap_notify_fetch. */
enum imap_request imap_contexts_update(struct imap_server *s, struct buf *out);
/* Last of all: what they tell of new messages; goes on with after_sync. */
enum imap_request imap_contexts_fetch(struct imap_server *s, struct buf *out);

/* name.c: names of mailboxes. */

/* As the client writes it (modified UTF-7, or UTF-8 if enabled) to UTF-8, in the arena; INBOX in capitals. False: not valid. */
bool imap_name_decode(struct imap_server *s, struct str text, struct str *name);
/* UTF-8 as it is, with INBOX in capitals, in the arena. False: not valid. */
bool imap_name_of_utf8(struct imap_server *s, struct str text, struct str *name);
/* Reads an astring and decodes it; false with scan->why set. */
bool imap_scan_name(struct imap_server *s, struct imap_scan *scan, struct str *name);
/* Appends the name as this client reads it, as an astring. */
void imap_name_write(const struct imap_server *s, struct str name, struct buf *out);
/* Appends a string as quoted or literal. */
void imap_string_write(const struct imap_server *s, struct str text, struct buf *out);
/* LIST's "%" and "*" (RFC 9051, section 6.3.9); linear in name times number of wildcards. */
bool imap_name_matches(struct str name, struct str pattern);

/* Commands: login.c, mailbox.c, list.c, select.c, store.c, append.c, fetch.c, search.c, extension.c. */
#define IMAP_COMMAND(name)                                                                                   \
    enum imap_request name(struct imap_server *s, struct imap_scan *scan, struct buf *out)
IMAP_COMMAND(imap_command_capability);
IMAP_COMMAND(imap_command_noop);
IMAP_COMMAND(imap_command_logout);
IMAP_COMMAND(imap_command_id);
IMAP_COMMAND(imap_command_starttls);
IMAP_COMMAND(imap_command_login);
IMAP_COMMAND(imap_command_authenticate);
IMAP_COMMAND(imap_command_enable);
IMAP_COMMAND(imap_command_namespace);
IMAP_COMMAND(imap_command_idle);
IMAP_COMMAND(imap_command_notify);
IMAP_COMMAND(imap_command_compress);
IMAP_COMMAND(imap_command_list);
IMAP_COMMAND(imap_command_lsub);
IMAP_COMMAND(imap_command_status);
IMAP_COMMAND(imap_command_getmetadata);
IMAP_COMMAND(imap_command_setmetadata);
IMAP_COMMAND(imap_command_setacl);
IMAP_COMMAND(imap_command_deleteacl);
IMAP_COMMAND(imap_command_getacl);
IMAP_COMMAND(imap_command_listrights);
IMAP_COMMAND(imap_command_myrights);
IMAP_COMMAND(imap_command_getquota);
IMAP_COMMAND(imap_command_getquotaroot);
IMAP_COMMAND(imap_command_create);
IMAP_COMMAND(imap_command_delete);
IMAP_COMMAND(imap_command_rename);
IMAP_COMMAND(imap_command_subscribe);
IMAP_COMMAND(imap_command_unsubscribe);
IMAP_COMMAND(imap_command_select);
IMAP_COMMAND(imap_command_examine);
IMAP_COMMAND(imap_command_unselect);
IMAP_COMMAND(imap_command_close);
IMAP_COMMAND(imap_command_check);
IMAP_COMMAND(imap_command_expunge);
IMAP_COMMAND(imap_command_store);
IMAP_COMMAND(imap_command_copy);
IMAP_COMMAND(imap_command_move);
IMAP_COMMAND(imap_command_append);
IMAP_COMMAND(imap_command_replace);
IMAP_COMMAND(imap_command_fetch);
IMAP_COMMAND(imap_command_search);
IMAP_COMMAND(imap_command_esearch);
IMAP_COMMAND(imap_command_cancelupdate);
IMAP_COMMAND(imap_command_sort);
IMAP_COMMAND(imap_command_thread);

/* mailbox.c: an object id (RFC 8474). */
void imap_write_id(const unsigned char id[IMAP_MAILBOX_ID_SIZE], struct buf *out);
/* rows.c: the bit of enum imap_special_use; 0 if there is none of this name. */
uint32_t imap_special_use_of(struct str name);

/* acl.c: "* MYRIGHTS name rights" (RFC 4314, section 3.8; RFC 8440). */
void imap_tell_my_rights(const struct imap_server *s, struct str name, uint32_t rights, struct buf *out);
/* acl.c: the system flags that the account may set and clear in the selected mailbox, and whether keywords. */
uint64_t imap_own_flags(const struct imap_server *s, bool *keywords);

/* select.c: the flags that the selected mailbox has. */
void imap_tell_keywords(const struct imap_server *s, struct buf *out);
/* select.c: "* VANISHED (EARLIER)" with those UIDs of the set that are no longer there. */
void imap_tell_vanished(const struct imap_server *s, const struct imap_set *known, struct buf *out);
/* store.c: makes ask.change the expunge of what has \Deleted (of server->uids only). False: there is nothing. */
bool imap_take_deleted(struct imap_server *s, bool of_uids);

/* url.c: a message, or a part of one, of a mailbox of the account. Its texts lie in the arena. */
struct imap_url {
    struct str mailbox; /* UTF-8 */
    bool has_validity;
    uint32_t uid_validity;
    uint32_t uid;
    struct str section; /* as FETCH has it in square brackets; empty: the whole message */
    uint64_t offset;
    uint64_t length;
};
/* False: no such URL, or one of another account or server, or with URLAUTH. */
bool imap_url_parse(struct imap_server *s, struct str text, struct imap_url *url);

/* search.c: " 1:100", or " -1:-100" from the end (RFC 9394); the bounds in their order. */
bool imap_scan_partial(struct imap_scan *scan, bool *from_end, uint32_t *lower, uint32_t *upper);

/* login.c */
enum imap_request imap_auth_response(struct imap_server *s, struct str line, struct buf *out);
enum imap_request imap_login_answered(struct imap_server *s, enum imap_auth_answer answer, struct buf *out);

#endif
