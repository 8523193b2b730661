/* The full-text index of an account; see fulltext.h. */
#include "store/fulltext.h"

#include "base/mem.h"
#include "base/random.h"
#include "message/terms.h"
#include "store/index_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 1, NAME_SIZE = 48, BUSY_MS = 20, EXPRESSION_MAX = 4 * FULLTEXT_QUESTION_MAX };

static const char folder[] = "fulltext";

static void name_of(int64_t account, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "%s/%lld.db", folder, (long long)account);
}

/* Statements. */

static int note(struct fulltext *f)
{
    f->code = f->db == NULL ? SQLITE_NOMEM : sqlite3_errcode(f->db);
    sqlite3_snprintf(sizeof(f->error), f->error, "%s",
                     f->db == NULL ? "out of memory" : sqlite3_errmsg(f->db));
    return -1;
}

static sqlite3_stmt *prepare(struct fulltext *f, enum fulltext_statement which)
{
    if (f->statements[which] == NULL && sqlite3_prepare_v2(f->db, schema_fulltext_statements[which], -1,
                                                           &f->statements[which], NULL) != SQLITE_OK) {
        note(f);
        return NULL;
    }
    return f->statements[which];
}

/* Runs a statement that has its parameters, for no row or one number. 1: there is a row; 0; -1. */
static int run(struct fulltext *f, sqlite3_stmt *statement, int64_t *value)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW && value != NULL) {
        *value = sqlite3_column_int64(statement, 0);
    }
    int result = code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : note(f);
    sqlite3_reset(statement);
    return result;
}

static int run_numbers(struct fulltext *f, enum fulltext_statement which, int64_t a, int64_t b, int64_t c,
                       int64_t *value)
{
    sqlite3_stmt *statement = prepare(f, which);
    if (statement == NULL) {
        return -1;
    }
    const int64_t numbers[] = {a, b, c};
    for (int i = 0; i < 3 && i < sqlite3_bind_parameter_count(statement); i++) {
        sql_int(statement, i + 1, numbers[i]);
    }
    return run(f, statement, value);
}

static int execute(struct fulltext *f, const char *sql)
{
    return sqlite3_exec(f->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : note(f);
}

/* Opening. */

int fulltext_index_id(struct index *index, int64_t *id)
{
    if (index_meta_get(index, "fulltext_id", 0, id) != 0) {
        return -1;
    }
    if (*id == 0 && index->writer) {
        *id = (int64_t)(random_u64() >> 2) + 1;
        return index_meta_set(index, "fulltext_id", *id);
    }
    return 0;
}

static struct fulltext *open_file(int64_t account, int flags)
{
    struct fulltext *f = mem_new(struct fulltext);
    char name[NAME_SIZE];
    if (f == NULL) {
        return NULL;
    }
    name_of(account, name);
    if (sqlite3_open_v2(name, &f->db, flags | SQLITE_OPEN_NOMUTEX, index_file_layer()) != SQLITE_OK) {
        note(f);
    } else {
        sqlite3_busy_timeout(f->db, BUSY_MS);
    }
    return f;
}

/* 1: the file is of this version and belongs to this index; 0: it does not; -1. */
static int belongs(struct fulltext *f, int64_t index_id)
{
    int64_t found = 0;
    int result = f->code != SQLITE_OK ? -1 : run_numbers(f, FULLTEXT_VERSION_GET, 0, 0, 0, &found);
    if (result < 0 || found != VERSION) {
        return result < 0 ? -1 : 0;
    }
    result = run_numbers(f, FULLTEXT_STATE_GET, FULLTEXT_STATE_INDEX, 0, 0, &found);
    return result < 0 ? -1 : found == index_id;
}

static int set_up(struct fulltext *f, int64_t index_id)
{
    return f->code == SQLITE_OK && execute(f, schema_fulltext_create) == 0 &&
                   run_numbers(f, FULLTEXT_STATE_SET, FULLTEXT_STATE_INDEX, index_id, 0, NULL) == 0
               ? 0
               : -1;
}

static void say(const struct fulltext *f, int64_t account, struct buf *errors)
{
    buf_printf(errors, "%s/%lld.db: %s", folder, (long long)account, f == NULL ? "out of memory" : f->error);
}

struct fulltext *fulltext_open_writer(int64_t account, int64_t index_id, struct buf *errors)
{
    struct fulltext *f = open_file(account, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    int usable = f == NULL ? -1 : belongs(f, index_id);
    int code = f == NULL ? SQLITE_NOMEM : f->code;
    bool damaged = (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
    if (usable == 1) {
        return f;
    }
    if (f != NULL && (usable == 0 || damaged)) { /* a new file, or one that is of no use */
        fulltext_close(f);
        if (fulltext_remove(account) != 0) {
            buf_printf(errors, "%s/%lld.db cannot be removed: %s", folder, (long long)account,
                       strerror(errno));
            return NULL;
        }
        f = open_file(account, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
        usable = f != NULL && set_up(f, index_id) == 0 ? 1 : -1;
    }
    if (usable != 1) {
        say(f, account, errors);
        fulltext_close(f);
        return NULL;
    }
    return f;
}

struct fulltext *fulltext_open_reader(int64_t account, int64_t index_id, struct buf *errors)
{
    char name[NAME_SIZE];
    name_of(account, name);
    if (index_id == 0 || access(name, R_OK) != 0) {
        return NULL;
    }
    struct fulltext *f = open_file(account, SQLITE_OPEN_READONLY);
    int usable = f == NULL ? -1 : belongs(f, index_id);
    if (usable == 1) {
        return f;
    }
    if (usable < 0) {
        say(f, account, errors);
    }
    fulltext_close(f);
    return NULL;
}

void fulltext_close(struct fulltext *f)
{
    if (f == NULL) {
        return;
    }
    for (size_t i = 0; i < FULLTEXT_STATEMENTS; i++) {
        sqlite3_finalize(f->statements[i]);
    }
    sqlite3_close(f->db);
    mem_free(f);
}

int fulltext_remove(int64_t account)
{
    char name[NAME_SIZE + sizeof("-journal")];
    name_of(account, name);
    size_t len = strlen(name);
    int result = unlink(name) == 0 || errno == ENOENT ? 0 : -1;
    memcpy(name + len, "-journal", sizeof("-journal"));
    return unlink(name) == 0 || errno == ENOENT ? result : -1;
}

int fulltext_each_file(bool (*found)(void *context, int64_t account), void *context)
{
    if (mkdir(folder, 0750) != 0 && errno != EEXIST) {
        return -1;
    }
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    bool more = true;
    if (directory == NULL) {
        return -1;
    }
    while (more && (entry = readdir(directory)) != NULL) {
        char *end;
        long long account = strtoll(entry->d_name, &end, 10);
        more = account <= 0 || strcmp(end, ".db") != 0 || found(context, account);
    }
    closedir(directory);
    return 0;
}

/* What is there. */

int fulltext_place(struct fulltext *f, int64_t mailbox, uint32_t uid_validity, uint32_t *uid)
{
    int64_t value = 0;
    int result = run_numbers(f, FULLTEXT_PLACE_GET, mailbox, uid_validity, 0, &value);
    *uid = (uint32_t)value;
    return result < 0 ? -1 : 0;
}

int64_t fulltext_documents(struct fulltext *f)
{
    int64_t count = 0;
    return run_numbers(f, FULLTEXT_STATE_GET, FULLTEXT_STATE_DOCUMENTS, 0, 0, &count) < 0 ? -1 : count;
}

/* Writing. */

static int64_t document_of(int64_t mailbox, uint32_t uid)
{
    return mailbox << 32 | (int64_t)uid;
}

int fulltext_begin(struct fulltext *f)
{
    return execute(f, "BEGIN IMMEDIATE");
}

static int count_document(struct fulltext *f)
{
    return run_numbers(f, FULLTEXT_STATE_ADD, FULLTEXT_STATE_DOCUMENTS, 1, 0, NULL) < 0 ? -1 : 0;
}

int fulltext_add(struct fulltext *f, int64_t mailbox, uint32_t uid, struct str terms)
{
    sqlite3_stmt *statement = prepare(f, FULLTEXT_ADD);
    if (statement == NULL) {
        return -1;
    }
    sql_int(statement, 1, document_of(mailbox, uid));
    sql_text(statement, 2, terms);
    return run(f, statement, NULL) < 0 ? -1 : count_document(f);
}

int fulltext_add_unknown(struct fulltext *f, int64_t mailbox, uint32_t uid)
{
    return run_numbers(f, FULLTEXT_ADD_UNKNOWN, document_of(mailbox, uid), 0, 0, NULL) < 0
               ? -1
               : count_document(f);
}

int fulltext_set_place(struct fulltext *f, int64_t mailbox, uint32_t uid_validity, uint32_t uid)
{
    return run_numbers(f, FULLTEXT_PLACE_SET, mailbox, uid_validity, uid, NULL) < 0 ? -1 : 0;
}

int fulltext_commit(struct fulltext *f)
{
    return execute(f, "COMMIT");
}

void fulltext_rollback(struct fulltext *f)
{
    if (sqlite3_get_autocommit(f->db) == 0) {
        sqlite3_exec(f->db, "ROLLBACK", NULL, NULL, NULL);
    }
}

/* FTS5 says by the number of changed rows whether a merge had anything to do (its documentation, section 6.8). */
int fulltext_tidy(struct fulltext *f, bool *more)
{
    int before = sqlite3_total_changes(f->db);
    int result = run_numbers(f, FULLTEXT_MERGE, 0, 0, 0, NULL);
    *more = result >= 0 && sqlite3_total_changes(f->db) - before >= 2;
    return result < 0 ? -1 : 0;
}

/* Questions. */

static bool is_term_octet(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'w');
}

/* "a b,c" as "(a AND b) OR (c)"; nothing else gets through. */
static bool write_expression(struct str question, struct buf *out)
{
    size_t words = 0;
    for (size_t at = 0; at <= question.len;) {
        size_t end = at;
        while (end < question.len && is_term_octet(question.data[end])) {
            end++;
        }
        bool last = end == question.len || question.data[end] == ',';
        bool first = at == 0 || question.data[at - 1] == ',';
        if (end == at || end - at >= TERM_SIZE_MAX || ++words > FULLTEXT_WORDS_MAX ||
            !(last || question.data[end] == ' ')) {
            return false;
        }
        buf_append_str(out, first ? (at == 0 ? STR("(") : STR(" OR (")) : STR(" AND "));
        buf_append_str(out, str_sub(question, at, end));
        buf_append_str(out, last ? STR(")") : STR_EMPTY);
        at = end + 1;
    }
    return buf_ok(out);
}

int fulltext_search(struct fulltext *f, int64_t mailbox, uint32_t last, struct str question,
                    bool (*found)(void *context, uint32_t uid), void *context)
{
    struct buf expression = buf_make(EXPRESSION_MAX);
    sqlite3_stmt *statement = prepare(f, FULLTEXT_SEARCH);
    int code = SQLITE_ROW;
    if (question.len > FULLTEXT_QUESTION_MAX || !write_expression(question, &expression) ||
        statement == NULL) {
        buf_free(&expression);
        return -1;
    }
    sql_text(statement, 1, buf_str(&expression));
    sql_int(statement, 2, document_of(mailbox, 1));
    sql_int(statement, 3, document_of(mailbox, last));
    bool more = true;
    while (more && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        more = found(context, (uint32_t)sqlite3_column_int64(statement, 0));
    }
    int result = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : note(f);
    sqlite3_reset(statement);
    buf_free(&expression);
    return result;
}
