/*
 * What a full-text index can say before any message is read: a search's texts as terms, of which a message that it finds has all of
 * at least one alternative. Whatever the index cannot know is left out, so that the question asks too little rather than too much.
 */
#include "imap/search_private.h"

#include "message/terms.h"
#include "message/token.h"

enum { TERMS_OF_NEEDLE = 12, QUESTION_MAX = 2000, ALTERNATIVES_MAX = 8 };

/* What a part of the program needs: alternatives with commas between them. Empty: nothing is known of it. */
struct need {
    struct str question;
    size_t alternatives;
};

static struct need need_of_text(struct imap_server *s, struct str text)
{
    char area[TERMS_OF_NEEDLE * TERM_SIZE_MAX];
    struct buf terms = {.data = area, .cap = sizeof(area), .limit = sizeof(area)};
    if (!terms_of_needle(text, TERMS_OF_NEEDLE, &terms) || terms.len == 0) {
        return (struct need){.question = STR_EMPTY};
    }
    struct str question = arena_copy(&s->arena, str_sub(buf_str(&terms), 0, terms.len - 1));
    return (struct need){.question = question, .alternatives = question.data != NULL};
}

static struct need join(struct imap_server *s, struct need a, char between, struct need b)
{
    size_t len = a.question.len + 1 + b.question.len;
    char *text = len > QUESTION_MAX ? NULL : arena_alloc(&s->arena, len);
    if (text == NULL) {
        return (struct need){.question = STR_EMPTY};
    }
    struct buf out = {.data = text, .cap = len, .limit = len};
    buf_append_str(&out, a.question);
    buf_append_char(&out, between);
    buf_append_str(&out, b.question);
    return (struct need){.question = buf_str(&out), .alternatives = a.alternatives + b.alternatives};
}

/* All of them are needed: those that are simple together, or one that is not. */
static struct need need_all(struct imap_server *s, const struct need *needs, size_t count)
{
    struct need all = {.question = STR_EMPTY};
    struct need other = {.question = STR_EMPTY};
    for (size_t i = 0; i < count; i++) {
        if (needs[i].alternatives > 1) {
            other = needs[i];
        } else if (needs[i].alternatives == 1 && all.alternatives == 0) {
            all = needs[i];
        } else if (needs[i].alternatives == 1) {
            struct need both = join(s, all, ' ', needs[i]);
            all = both.alternatives == 0 ? all : (struct need){.question = both.question, .alternatives = 1};
        }
    }
    return all.alternatives > 0 ? all : other;
}

static struct need need_any(struct imap_server *s, const struct need *needs, size_t count)
{
    struct need any = {.question = STR_EMPTY};
    for (size_t i = 0; i < count; i++) {
        bool again = i > 0 && str_equal(needs[i].question, needs[i - 1].question);
        if (needs[i].alternatives == 0) {
            return needs[i];
        }
        any = i == 0 ? needs[i] : again ? any : join(s, any, ',', needs[i]);
        if (any.alternatives == 0 || any.alternatives > ALTERNATIVES_MAX) {
            return (struct need){.question = STR_EMPTY};
        }
    }
    return any;
}

static struct need need_of_leaf(struct imap_server *s, const struct search_node *node)
{
    switch (node->op) {
    case SEARCH_HEADER:
        return need_of_text(s, token_trim(node->text)); /* a field's value is indexed trimmed */
    case SEARCH_BODY:
    case SEARCH_TEXT: return need_of_text(s, node->text);
    default: return (struct need){.question = STR_EMPTY};
    }
}

/* Empty: there is nothing to ask. */
static struct str question_of(struct imap_server *s, const struct search_program *program)
{
    struct need *stack = arena_alloc(&s->arena, program->count * sizeof(*stack));
    size_t depth = 0;
    if (stack == NULL) {
        return STR_EMPTY;
    }
    for (size_t i = 0; i < program->count; i++) {
        const struct search_node *node = &program->nodes[i];
        size_t operands = (size_t)node->number;
        switch (node->op) {
        case SEARCH_NOT: stack[depth - 1] = (struct need){.question = STR_EMPTY}; break;
        case SEARCH_AND:
            depth -= operands;
            stack[depth] = need_all(s, &stack[depth], operands);
            depth++;
            break;
        case SEARCH_OR:
            depth -= operands;
            stack[depth] = need_any(s, &stack[depth], operands);
            depth++;
            break;
        default: stack[depth++] = need_of_leaf(s, node); break;
        }
    }
    return stack[0].question;
}

bool imap_server_candidates(struct imap_server *s, uint32_t first, uint32_t last)
{
    struct search_command *search = s->data;
    return imap_set_append(&search->candidates, first, last);
}

/* What is in both stays. False without memory. */
static bool keep_candidates(struct search_command *search)
{
    struct imap_set kept = imap_set_make();
    const struct imap_set *a = &search->unknown;
    const struct imap_set *b = &search->candidates;
    bool fine = true;
    for (size_t i = 0, j = 0; i < a->count && j < b->count && fine;) {
        uint32_t first = a->ranges[i].first > b->ranges[j].first ? a->ranges[i].first : b->ranges[j].first;
        uint32_t last = a->ranges[i].last < b->ranges[j].last ? a->ranges[i].last : b->ranges[j].last;
        fine = first > last || imap_set_append(&kept, first, last);
        bool a_ends = a->ranges[i].last <= b->ranges[j].last;
        bool b_ends = b->ranges[j].last <= a->ranges[i].last;
        i += a_ends;
        j += b_ends;
    }
    imap_set_free(&search->unknown);
    search->unknown = kept;
    return fine;
}

static enum imap_request narrowed(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    if (s->answer == IMAP_DONE && !keep_candidates(search)) {
        search->no_memory = true;
    }
    imap_set_free(&search->candidates);
    search->candidates = imap_set_make();
    return search_read_unknown(s, out);
}

enum imap_request search_narrow(struct imap_server *s, struct buf *out)
{
    struct search_command *search = s->data;
    struct str question = imap_set_size(&search->unknown) < s->settings->narrow_from
                              ? STR_EMPTY
                              : question_of(s, &search->program);
    if (question.len == 0) {
        return search_read_unknown(s, out);
    }
    s->ask.question = question;
    return imap_ask(s, IMAP_NARROW, narrowed);
}
