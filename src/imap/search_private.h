/*
 * A search as a program (RFC 9051, section 6.4.4): keys in postfix order, evaluated on a stack of three values, so that what is not
 * known of a message yet is asked for only where it decides. Nobody but the files of SEARCH, SORT and THREAD includes this.
 */
#ifndef VEREDUS_IMAP_SEARCH_PRIVATE_H
#define VEREDUS_IMAP_SEARCH_PRIVATE_H

#include "imap/server_private.h"

enum {
    SEARCH_CONTEXTS_MAX = 10,
    SEARCH_NODES_MAX = 2000,
    SEARCH_DEPTH_MAX = 100,
    SEARCH_TEXT_MAX = 4096,
    SEARCH_WORDS_MAX = 32,   /* of a fuzzy text; those behind them do not count */
    SEARCH_PHRASES_MAX = 16, /* fuzzy texts that make up a score */
    SEARCH_HEADER_MAX = 65536
};

enum search_op {
    /* What takes others. */
    SEARCH_AND, /* number of them */
    SEARCH_OR,  /* two */
    SEARCH_NOT,
    /* What the view knows. */
    SEARCH_ALL,
    SEARCH_NOTHING,
    SEARCH_FLAGS, /* has all of these */
    SEARCH_UIDS,  /* is in this set */
    SEARCH_RECENT,
    SEARCH_MODSEQ, /* at least this */
    /* What the index knows of each message. */
    SEARCH_LARGER,
    SEARCH_SMALLER,
    SEARCH_BEFORE, /* internal date, days since 1970 */
    SEARCH_ON,
    SEARCH_SINCE,
    SEARCH_OLDER, /* internal date, milliseconds of the wall clock */
    SEARCH_YOUNGER,
    SEARCH_SAVED_BEFORE, /* days */
    SEARCH_SAVED_ON,
    SEARCH_SAVED_SINCE,
    SEARCH_EMAIL_ID,
    /* What its header says. */
    SEARCH_HEADER, /* field, text */
    SEARCH_SENT_BEFORE,
    SEARCH_SENT_ON,
    SEARCH_SENT_SINCE,
    SEARCH_THREAD_ID,
    /* All of it. */
    SEARCH_BODY,
    SEARCH_TEXT
};

struct search_node {
    enum search_op op;
    uint64_t number;
    struct str field;
    struct str text;     /* folded (message/fold.h) */
    struct imap_set set; /* UIDs */
    bool scope;          /* a set that all hits are in: beyond it nothing is searched */
};

/* A text that was searched for with FUZZY, as it was written (folded). */
struct search_phrase {
    enum search_op op;
    struct str field;
    struct str text;
};

enum search_value { SEARCH_FALSE, SEARCH_TRUE, SEARCH_UNKNOWN };

struct search_program {
    struct search_node *nodes; /* in the command's arena */
    enum search_value *values; /* likewise: room for a value of each, which an evaluation works in */
    size_t count;
    size_t room;
    struct search_phrase phrases[SEARCH_PHRASES_MAX];
    size_t phrase_count;
    bool fuzzy; /* it has a FUZZY key */
    bool uses_modseq;
    bool uid_required; /* it has message numbers, and UIDONLY is enabled */
};

/* What is known of a message. */
struct search_subject {
    const struct imap_entry *entry;
    const struct imap_message *message; /* NULL: not known */
    bool has_header;
    bool has_body;
    struct str text; /* the header, or all of it */
};

/*
 * search_parse.c: reads keys to the end of the command. False: scan->why says what was expected, or *bad_charset. The sets of its
 * nodes are freed by search_program_free.
 */
bool search_parse(struct imap_server *s, struct imap_scan *scan, uint64_t wall_ms,
                  struct search_program *program);
void search_program_free(struct search_program *program);
/* What its leaves need (enum imap_want); `header_only`: no more than the header of the octets, if those come. */
unsigned search_want(const struct search_program *program, bool *header_only);
/* The fields in a summary, as they stand in a header. */
bool search_summary_fields(const struct imap_message *message, struct str *header);

/* search_match.c: the value for one message. */
bool search_has_text(enum search_op op, struct str field, struct str text,
                     const struct search_subject *subject);
enum search_value search_evaluate(const struct search_program *program, const struct search_subject *subject);

/* search.c: what SEARCH, SORT and THREAD have in common. */

enum search_return {
    SEARCH_RETURN_MIN = 1,
    SEARCH_RETURN_MAX = 2,
    SEARCH_RETURN_ALL = 4,
    SEARCH_RETURN_COUNT = 8,
    SEARCH_RETURN_SAVE = 16,
    SEARCH_RETURN_PARTIAL = 32,
    SEARCH_RETURN_UPDATE = 64, /* RFC 5267 */
    SEARCH_RETURN_CONTEXT = 128,
    SEARCH_RETURN_RELEVANCY = 256 /* RFC 6203 */
};

struct search_score {
    uint32_t uid;
    unsigned score; /* 1 to 100 */
};

struct search_command {
    struct search_program program;
    bool extended;     /* RETURN (...): answered with ESEARCH */
    bool correlate;    /* with the mailbox and its UIDVALIDITY; nothing where there are no hits (RFC 7377) */
    bool own_progress; /* the command counts something else than messages */
    struct str keys;   /* the search keys, as written */
    struct str items;  /* of UPDATE, likewise: what is told of new messages; empty: nothing */
    unsigned give;     /* enum search_return */
    uint32_t partial_first;
    uint32_t partial_last;
    bool from_end; /* PARTIAL with negative numbers */
    struct imap_set unknown;
    struct imap_set candidates; /* what a full-text index says */
    uint32_t *hits;             /* UIDs, rising */
    size_t hit_count;
    size_t hit_room;
    bool scored;                 /* scores are wanted */
    struct search_score *scores; /* of hits whose text had to be looked at; UIDs, rising */
    size_t score_count;
    size_t score_room;
    bool no_memory;
    struct buf text; /* of the message under way */
    struct imap_message message;
    const struct imap_entry *entry;
    bool (*take)(struct imap_server *s, struct str header); /* the message under way, with its header */
    enum imap_request (*found)(struct imap_server *s, struct buf *out); /* goes on with the hits */
    void *more;                                                         /* SORT's and THREAD's own */
    void (*free_more)(void *more);
};

/* The command's data, freed with it. NULL without memory. */
struct search_command *search_begin(struct imap_server *s);
/* " RETURN (...)" if it comes next. False: scan->why. */
bool search_scan_return(struct imap_server *s, struct imap_scan *scan, struct search_command *search);
/* The charset of a search is one that is understood. */
bool search_is_charset(struct str name);
/* The keys are not understood. */
enum imap_request search_bad(struct imap_server *s, struct buf *out, const struct imap_scan *scan,
                             const char *words);
/* Runs the program over the view; `found` goes on. */
enum imap_request search_run(struct imap_server *s, struct buf *out,
                             enum imap_request (*found)(struct imap_server *s, struct buf *out));
/* search_fuzzy.c */

/* The words of a folded text, and what of a word a fuzzy search looks for. */
size_t search_words(struct str folded, struct str words[SEARCH_WORDS_MAX]);
struct str search_stem(struct str word);
/* How well this hit fits; in the order of UIDs. False without memory. */
bool search_note_score(struct search_command *search, const struct search_subject *subject);
unsigned search_score(const struct search_command *search, uint32_t uid);
/* " RELEVANCY (...)" */
void search_write_scores(const struct search_command *search, const uint32_t *uids, size_t count,
                         struct buf *out);

/* search_narrow.c: asks a full-text index, if there is anything to ask, which of search->unknown may be hits; then reads those. */
enum imap_request search_narrow(struct imap_server *s, struct buf *out);
/* Asks for search->unknown, decides on each, and goes on with the hits. */
enum imap_request search_read_unknown(struct imap_server *s, struct buf *out);
/* Writes "* ESEARCH (TAG ...)" for these hits, in this order (UIDs), and saves them if that was asked for. */
enum imap_request search_reply_extended(struct imap_server *s, struct buf *out, const uint32_t *uids,
                                        size_t count);
/* The same without the end of the command. */
void search_write_extended(struct imap_server *s, struct buf *out, const uint32_t *uids, size_t count);
/* " RETURN (...)", " CHARSET name" and the keys, to the end. False: the command has been answered, *request. */
bool search_scan_keys(struct imap_server *s, struct imap_scan *scan, struct buf *out, const char *words,
                      enum imap_request *request);
/* Whether scores are wanted only where there are any. False: the command has been answered, *request. */
bool search_may_score(struct imap_server *s, struct buf *out, enum imap_request *request);
/* UID or sequence number, as the command counts. */
uint32_t search_number(const struct imap_server *s, uint32_t uid);

/* context.c */

/*
 * From now on changes of this result, UIDs in their order, are told, and with it the items of what FETCH tells of new messages in
 * it (RFC 5465, section 7; empty: none). NULL, or too many: "* NO [NOUPDATE ...]" is.
 */
void imap_context_add(struct imap_server *s, struct str keys, struct str items, const uint32_t *uids,
                      size_t count, struct buf *out);
/* " (item item)", if it comes next, as written. False: scan->why. */
bool imap_context_scan_items(struct imap_server *s, struct imap_scan *scan, struct str *items);
/* Whether a search of this tag is kept up to date. */
bool imap_context_exists(struct imap_server *s, struct str tag);

/* sort.c: what SORT and THREAD have in common. */

/* " charset keys" to the end, then the search; `words` say what the command takes. */
enum imap_request search_keys_of(struct imap_server *s, struct imap_scan *scan, struct buf *out,
                                 const char *words,
                                 enum imap_request (*then)(struct imap_server *s, struct buf *out));
/* Asks for the hits, with their headers if `header`; `take` is called for each, then `then`. */
enum imap_request search_ask_hits(struct imap_server *s, bool header,
                                  bool (*take)(struct imap_server *s, struct str header),
                                  enum imap_request (*then)(struct imap_server *s, struct buf *out));
/* The sent date of RFC 5256, section 2.2; the internal one where there is none. */
uint64_t search_sent_ms(struct str header, uint64_t internal_ms);

#endif
