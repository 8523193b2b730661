/*
 * `import`: mail of another server into an account, from a Maildir or mbox. The running server files it; this end reads the
 * files, as whoever runs the command, and sends the text of many messages at once in a descriptor. A message's id is made from
 * where it comes from, so an import that was interrupted is simply run again.
 */
#include "cli/import.h"

#include "base/ident.h"
#include "base/io.h"
#include "base/mem.h"
#include "cli/output.h"
#include "cli/run.h"
#include "store/record.h"

#include <dirent.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    BATCH_MESSAGES = 128,
    BATCH_OCTETS = 8 << 20,
    BATCH_KEYWORDS = 24 << 10, /* octets of keywords: a request has its limit */
    NAME_MAX_OCTETS = 1000
};

struct importer {
    const struct cli_input *input;
    struct control *control;
    const char *account;
    char mailbox[NAME_MAX_OCTETS + 1];
    uint32_t validity; /* of the mailbox here, once it is known that UIDs are kept; 0: they are not */
    uint32_t next;
    bool kept;
    struct buf text;
    json_t *rows;
    size_t keyword_octets;
    uint64_t read; /* messages of this mailbox so far */
    uint64_t filed;
    uint64_t present;
    uint64_t renumbered;
    bool keywords_full;
    uint64_t nuls;
    uint64_t left_out; /* in all mailboxes */
    uint64_t progress_ms;
};

const struct cli_input *import_input(const struct importer *importer)
{
    return importer->input;
}

void import_left_out(struct importer *importer, const char *file, const char *why)
{
    importer->left_out++;
    fputs("veredus: left out: ", stderr);
    fprintf(stderr, "%s: %s\n", file, why);
}

static void show_progress(struct importer *m, uint64_t total)
{
    if (!cli_shows_progress(m->input->json, &m->progress_ms)) {
        return;
    }
    if (total > 0) {
        fprintf(stderr, "%s: %llu of %llu messages\n", m->mailbox, (unsigned long long)m->read,
                (unsigned long long)total);
    } else {
        fprintf(stderr, "%s: %llu messages\n", m->mailbox, (unsigned long long)m->read);
    }
}

/* Requests. */

static json_t *target(const struct importer *m)
{
    return json_pack("{s:s,s:s}", "address", m->account, "mailbox", m->mailbox);
}

static uint64_t member(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

static int ask_mailbox(struct importer *m, uint32_t validity, uint32_t next, bool subscribe, json_t **done)
{
    json_t *arguments = target(m);
    json_object_set_new(arguments, "validity", json_integer(validity));
    json_object_set_new(arguments, "next", json_integer(next));
    json_object_set_new(arguments, "subscribe", json_boolean(subscribe));
    return control_call(m->control, "import mailbox", arguments, NULL, NULL, done);
}

int import_mailbox(struct importer *m, struct str name, uint32_t validity, uint32_t next, bool subscribe)
{
    json_t *done = NULL;
    if (name.len > NAME_MAX_OCTETS || str_find(name, 0, '\0') != SIZE_MAX) {
        return cli_fail(m->input, EX_DATAERR, "rename the folder first", "the name of a folder is too long");
    }
    memcpy(m->mailbox, name.data, name.len);
    m->mailbox[name.len] = '\0';
    m->read = m->filed = m->present = m->renumbered = m->nuls = 0;
    m->keywords_full = false;
    /* UIDNEXT comes last: until then UIDs below it are given to the messages that had them. */
    int code = ask_mailbox(m, validity, 0, subscribe, &done);
    m->kept = json_is_true(json_object_get(done, "kept"));
    m->validity = m->kept ? validity : 0;
    m->next = m->kept ? next : 0;
    json_decref(done);
    return code;
}

static int make_file(struct importer *m)
{
    int fd = memfd_create("import", MFD_CLOEXEC);
    if (fd >= 0 && !io_write_all(fd, buf_str(&m->text))) {
        int error = errno;
        close(fd);
        errno = error;
        fd = -1;
    }
    return fd;
}

static int send_batch(struct importer *m)
{
    json_t *done = NULL;
    if (json_array_size(m->rows) == 0) {
        return EX_OK;
    }
    int fd = make_file(m);
    if (fd < 0) {
        return cli_fail(m->input, EX_OSERR, NULL, "cannot hand over the messages: %s", strerror(errno));
    }
    json_t *arguments = target(m);
    json_object_set_new(arguments, "validity", json_integer(m->validity));
    json_object_set(arguments, "messages", m->rows);
    control_pass(m->control, fd);
    int code = control_call(m->control, "import messages", arguments, NULL, NULL, &done);
    close(fd);
    m->filed += member(done, "filed");
    m->present += member(done, "present");
    m->renumbered += member(done, "renumbered");
    m->keywords_full = m->keywords_full || json_is_true(json_object_get(done, "keywords_full"));
    json_decref(done);
    json_array_clear(m->rows);
    m->keyword_octets = 0;
    if (m->text.cap > 2 * (size_t)BATCH_OCTETS) {
        buf_free(&m->text);
    }
    buf_clear(&m->text);
    return code;
}

/* Messages. */

/* Lines end in CRLF here; a NUL, which IMAP cannot carry, becomes 0x80 as other servers have it. */
static bool append_text(struct importer *m, struct str text)
{
    size_t begin = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool bare = c == '\n' && (i == 0 || text.data[i - 1] != '\r');
        if (bare || c == '\0') {
            buf_append_str(&m->text, str_sub(text, begin, i));
            buf_append_str(&m->text, bare ? STR("\r\n") : STR("\x80"));
            begin = i + 1;
            m->nuls += c == '\0';
        }
    }
    return buf_append_str(&m->text, str_from(text, begin)) && buf_ok(&m->text);
}

static struct ident make_id(const struct importer *m, const struct import_message *message)
{
    crypto_generichash_state state;
    unsigned char hash[16];
    uint64_t random;
    crypto_generichash_init(&state, NULL, 0, sizeof(hash));
    crypto_generichash_update(&state, (const unsigned char *)m->account, strlen(m->account) + 1);
    crypto_generichash_update(&state, (const unsigned char *)m->mailbox, strlen(m->mailbox) + 1);
    crypto_generichash_update(&state, (const unsigned char *)message->source.data, message->source.len);
    crypto_generichash_final(&state, hash, sizeof(hash));
    memcpy(&random, hash, sizeof(random));
    return ident_make((uint64_t)message->named_seconds * 1000 + (hash[8] | (hash[9] & 3U) << 8) % 1000,
                      random);
}

int import_add(struct importer *m, const struct import_message *message, uint64_t total)
{
    size_t before = m->text.len;
    struct ident id = make_id(m, message);
    char id_text[IDENT_TEXT];
    m->read++;
    show_progress(m, total);
    if (!append_text(m, message->text)) {
        return cli_fail(m->input, EX_OSERR, NULL, "there is not enough memory for a message of %s",
                        m->mailbox);
    }
    ident_format(&id, id_text);
    json_t *row = json_pack("[I,I,I,I,s#,s#]", (json_int_t)(m->text.len - before), (json_int_t)message->uid,
                            (json_int_t)message->flags, (json_int_t)(message->seconds * 1000), id_text,
                            IDENT_TEXT, message->keywords.data, (int)message->keywords.len);
    if (row == NULL || json_array_append_new(m->rows, row) != 0) {
        return cli_fail(m->input, EX_DATAERR, "correct it, then run the import again",
                        "a keyword of a message of %s is not valid UTF-8", m->mailbox);
    }
    m->keyword_octets += message->keywords.len;
    bool full = json_array_size(m->rows) >= BATCH_MESSAGES || m->text.len >= BATCH_OCTETS ||
                m->keyword_octets >= BATCH_KEYWORDS;
    return full ? send_batch(m) : EX_OK;
}

static void report(const struct importer *m)
{
    if (m->input->json) {
        json_t *row =
            json_pack("{s:s,s:I,s:I,s:I,s:b,s:b}", "mailbox", m->mailbox, "filed", (json_int_t)m->filed,
                      "present", (json_int_t)m->present, "renumbered", (json_int_t)m->renumbered,
                      "uidvalidity_kept", (int)m->kept, "keywords_lost", (int)m->keywords_full);
        cli_print_json(row);
        json_decref(row);
        return;
    }
    printf("%s: %llu messages imported", m->mailbox, (unsigned long long)m->filed);
    if (m->present > 0) {
        printf(", %llu were there already", (unsigned long long)m->present);
    }
    if (m->renumbered > 0) {
        printf("; UIDs are new, so mail programs load the folder again");
    }
    if (m->keywords_full) {
        printf("; a mailbox has room for 56 keywords, some did not fit");
    }
    if (m->nuls > 0) {
        printf("; %llu NUL octets became 0x80", (unsigned long long)m->nuls);
    }
    puts(".");
}

int import_finish_mailbox(struct importer *m)
{
    json_t *done = NULL;
    int code = send_batch(m);
    if (code == EX_OK && m->next > 0) {
        code = ask_mailbox(m, m->validity, m->next, false, &done);
        json_decref(done);
    }
    if (code == EX_OK) {
        report(m);
    }
    return code;
}

/* Files. */

bool import_is_maildir(const char *path)
{
    char below[4096];
    struct stat info;
    int length = snprintf(below, sizeof(below), "%s/cur", path);
    if (length >= (int)sizeof(below)) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (stat(below, &info) != 0) {
        return false;
    }
    errno = ENOTDIR;
    return S_ISDIR(info.st_mode);
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int import_list(const struct importer *m, const char *path, struct dirent ***entries, int *count)
{
    *count = scandir(path, entries, NULL, compare_names);
    return *count >= 0 ? EX_OK
                       : cli_fail(m->input, EX_NOINPUT, "run the import as a user who may read it",
                                  "cannot read the directory %s: %s", path, strerror(errno));
}

/* The command. */

static int run_format(struct importer *m)
{
    const char *path = m->input->arguments[1];
    const char *format = cli_option_value(m->input, "--format");
    const char *mailbox = cli_option_value(m->input, "--mailbox");
    if (format == NULL) {
        format = import_is_maildir(path) ? "maildir" : "mbox";
    }
    if (strcmp(format, "maildir") == 0) {
        return import_maildir(m, path, mailbox);
    }
    if (strcmp(format, "mbox") == 0) {
        return import_mbox(m, path, mailbox);
    }
    return cli_fail(m->input, EX_USAGE, "give --format maildir or --format mbox", "there is no format \"%s\"",
                    format);
}

int cli_import(const struct cli_input *input)
{
    int code = EX_OSERR;
    struct importer m = {.input = input, .account = input->arguments[0], .text = buf_make(RECORD_TOTAL_MAX)};
    m.rows = json_array();
    m.control = m.rows == NULL || sodium_init() < 0 ? NULL : control_open(input, &code);
    if (m.control == NULL) {
        json_decref(m.rows);
        return code;
    }
    code = run_format(&m);
    control_close(m.control);
    buf_free(&m.text);
    json_decref(m.rows);
    if (code == EX_OK && m.left_out > 0) {
        return cli_fail(input, EX_DATAERR, "see to the files named above, then run the import again",
                        "%llu files or messages were left out", (unsigned long long)m.left_out);
    }
    return code;
}
