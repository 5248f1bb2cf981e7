/* A recurrent language model that reads text and finds the words that come next, after the letters that are typed.
 *
 * C99, with math.h and string.h alone. Nothing is allocated, no file is read, and there is no state but what the caller
 * gives, of which each thread may have its own; several models may be used at once. Texts are UTF-8 and need no 0 at
 * their end. All probabilities are of natural logarithms where the name says so.
 *
 * A keyboard splits what is typed, reads the whole words, and asks for the words that begin as the last one:
 *
 *   search = lm_open(room, model, 3, LM_ROWS(3), LM_READS);
 *   lm_split(model, text, size, &typed);
 *   num_tokens = lm_encode(model, text, typed.whole, tokens, ROOM);
 *   lm_begin(search, &context);
 *   lm_read(search, &context, tokens, num_tokens < ROOM ? num_tokens : ROOM);
 *   found = lm_suggest(search, &context, &typed, 3, words);
 *
 * A text that goes on need not be read again: its tokens begin with those that a context has read.
 *
 * Who computes what the model says in another way than `lm_read` does not call the last two, but begins a search, and
 * gives it what it asks for: see `lm_find`.
 */
#ifndef LM_CORE_H
#define LM_CORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of a word with the 0 behind it; longer words are not found, nor those that begin with so many letters. */
#define LM_WORD_BYTES 160
/* Keys that were hit, of a word that may be typed with errors; longer ones are not looked for. */
#define LM_MOST_TAPS 40
/* Of what may be typed with errors, the least odds of words that are shown, and the least logarithm of odds with which
 * a word is written instead. */
#define LM_LEAST_ODDS 1e-4
#define LM_MARGIN 1.75
/* Words that are looked for at first if what is typed may have errors. What is found of them does not depend on how
 * many more are asked for. */
#define LM_SURE 4
/* Beginnings that a search for some words reads at most. With fewer it needs less room, and may miss words. */
#define LM_ROWS(num_words) (64 + 16 * ((num_words) < LM_SURE ? LM_SURE : (num_words)))
/* Rows that `lm_suggest` reads together. */
#ifndef LM_ROWS_TOGETHER
#define LM_ROWS_TOGETHER 4
#endif

/* What a model is made of: tables that `kerasptb export` writes. See the end of this file. */
typedef struct lm_model lm_model;

/* A text as far as it is typed. */
typedef struct {
  size_t whole;        /* bytes of the text up to the last whole word */
  size_t typed;        /* bytes of the word that is being typed, at the text's end, without the space before it */
  int32_t begins;      /* whether it comes without a space before it, as behind an opening quote */
  int32_t prefix_size; /* bytes of `prefix` */
  char prefix[LM_WORD_BYTES];  /* in small letters, with the space before it; empty if anything may come */
  char letters[LM_WORD_BYTES]; /* as it is typed, without the space; nothing if it has no room */
} lm_typed;

/* A word that may come next. */
typedef struct {
  char text[LM_WORD_BYTES]; /* with a 0 behind it */
  double probability;       /* that it comes, the letters that are typed included */
} lm_word;

/* Writes a text with the signs that the model knows, such as ' for a typographic apostrophe if it has met none.
 *
 * Returns the bytes of the result, of which no more than `room` are written, and whole characters only. Give it any
 * text before the functions below. */
size_t lm_read_signs(const lm_model* model, const char* text, size_t size, char* result, size_t room);

/* Finds the word that is being typed at a text's end. */
void lm_split(const lm_model* model, const char* text, size_t size, lm_typed* typed);

/* Finds the tokens of a text that begins a paragraph; a line's end ends a paragraph.
 *
 * Returns how many they are, of which no more than `room` are written. Of letters without a space, tokens of words are
 * looked for in 256 bytes at a time. */
size_t lm_encode(const lm_model* model, const char* text, size_t size, int32_t* tokens, size_t room);

/* Returns what a token writes, with the space before it, and its number of bytes. */
const char* lm_piece(const lm_model* model, int32_t token, size_t* size);

/* Words are searched for in rounds: a search asks for what may come after some beginnings of words, and is given it. */

/* What a search asks for: a row is a beginning of a word, and what comes before its last token another, 0 for the text.
 * The row of what is typed itself comes after the one that it replaces: there both are the same. */
typedef struct {
  int32_t row, before, token;
} lm_asked;

/* What keys that were hit say of the letters that were meant: P(tap | letter), relative to the likeliest letter. */
typedef struct {
  int32_t num_taps;                          /* characters of what is typed */
  int32_t is_whole;                          /* whether they are all of the word */
  int32_t may_be_words;                      /* whether each may be of a letter that the model knows, or of none */
  double hit, exchanged, doubled, undoubled; /* how often */
  double unknown;                            /* by how much a word that is not known is less likely */
  double* likelihoods;                       /* [num_symbols][num_taps] */
  double* omissions;                         /* [num_symbols] */
  double strays[LM_MOST_TAPS];
} lm_hits;

/* What a search looks for. The caller keeps what it points at until the search has ended. */
typedef struct {
  const lm_typed* typed;
  int32_t num_words;
  int32_t num_excluded, num_beside, num_known, num_literal;
  int32_t most_rows;        /* beginnings that are read at most, and no more than have room; 0 for as many as suit */
  double at_least;          /* the least probability of a word */
  double least_share;       /* that of what was found; 0 for as little as suits */
  double least_odds;        /* with hits: the least odds against what is typed with which a word is looked for */
  const uint8_t* left_out;  /* [num_tokens], whether no word is this token; 0 for those that are never on a key */
  const uint32_t* excluded; /* sorted, the low bits of `lm_hash` of words that are not looked for */
  const uint32_t* beside;   /* of words that do not count among the `num_words`, and are found if they are met */
  const uint32_t* known;    /* of words in small letters that are known besides those of the model */
  const int32_t* literal;   /* with hits: the tokens of what is typed, as they come after the text */
  const lm_hits* hits;      /* 0 if nobody errs */
} lm_question;

/* Works with a room of the caller's, of `lm_bytes` bytes and aligned as a double. */
typedef struct lm_search lm_search;

enum {
  LM_READS = 1, /* `lm_read` and `lm_suggest` are called */
  LM_ERRS = 2   /* what is typed may have errors */
};

/* Returns the bytes of the room of a search for so many words that reads so many rows; usually LM_ROWS(num_words), and
 * 0 for as many as any search may read. An exported model's LM_ROOM is about as many bytes, as a constant. */
size_t lm_bytes(const lm_model* model, int32_t num_words, int32_t num_rows, int32_t flags);
lm_search* lm_open(void* room, const lm_model* model, int32_t num_words, int32_t num_rows, int32_t flags);

/* Begins a search. Give it the log probabilities of the tokens that may come next, [num_tokens], as row 0; then let it
 * take rows until there are none, and give it what comes after each. */
void lm_find(lm_search* search, const lm_question* question);

/* Takes the beginnings that are to be read next; returns how many there are. */
int32_t lm_take(lm_search* search, const lm_asked** asked);
void lm_give(lm_search* search, int32_t row, const float* log_probabilities);

/* Writes the words that were found, the likeliest first, and returns how many there are: no more than were asked for,
 * and those besides. With errors, what is typed may be among them. */
int32_t lm_words(const lm_search* search, lm_word* words, int32_t room);

/* Returns the probability that the next word begins as typed; with errors, that it comes and is typed so, whatever it
 * is. */
double lm_total(const lm_search* search);

/* Returns the probability of what is typed itself, that of its taps included, once a search with errors has ended. */
double lm_literal(const lm_search* search);

/* Returns what tells a word from others. */
uint64_t lm_hash(const char* word, size_t size);

/* Writes the low bits of `lm_hash` of some texts, one behind the other, each with where it ends. */
void lm_hash_all(const char* texts, const int32_t* ends, int32_t number, uint32_t* hashes);

/* Layouts of keys. */
enum { LM_AZERTY, LM_PORTUGUESE, LM_QWERTY, LM_QWERTZ };

/* Finds what the taps of a word say, with a room for the likelihoods of `lm_hits_bytes` bytes.
 *
 * `points` are where the keys were hit: x and y of each letter, in widths of a key from the corner of the keys; 0 if
 * that is not known. Returns whether they can be looked for: longer words than LM_MOST_TAPS letters stay. */
size_t lm_hits_bytes(const lm_model* model);
int32_t lm_find_hits(const lm_model* model, const char* letters, int32_t layout, const float* points, int32_t is_whole,
                     void* room, lm_hits* hits);

/* Writes the probability of all taps for each of some texts, as `lm_hash_all` takes them; 0 for those with a letter
 * that the model lacks. */
void lm_align_all(const lm_model* model, const lm_hits* hits, const char* texts, const int32_t* ends, int32_t number,
                  double* probabilities);

/* What a model says, for who has no other way to compute it: all take a search that reads. */

/* What the model knows after some tokens, in arrays of the caller's: the states of its layers, and what comes next. */
typedef struct {
  float* state;             /* [state_size] */
  float* log_probabilities; /* [num_tokens], of the next token */
} lm_context;

/* Makes the context before any text. All tokens are alike there if the vocabulary has no end of a line. */
void lm_begin(lm_search* search, const lm_context* context);

/* Reads tokens, each from 0 to num_tokens - 1. Only the log probabilities after the last are computed. */
void lm_read(lm_search* search, const lm_context* context, const int32_t* tokens, size_t num_tokens);

/* Finds the `num_words` likeliest words that begin as typed after a context, at most those of the search.
 *
 * Returns how many there are, the likeliest first; fewer if the others are all but impossible. */
int32_t lm_suggest(lm_search* search, const lm_context* context, const lm_typed* typed, int32_t num_words,
                   lm_word* words);

/* Finds the likeliest words for a word that may be typed with errors, as `lm_suggest` does for what is typed; the
 * search must err.
 *
 * The words may go on, what is typed may be among them, and their probabilities are those that they come and are typed
 * so; `lm_total` is that of all. `correction` is the word that is to be written instead if a space or a sign follows;
 * its text is empty if the word stays. `points` as of `lm_find_hits`. */
int32_t lm_suggest_typos(lm_search* search, const lm_context* context, const lm_typed* typed, int32_t layout,
                         const float* points, int32_t num_words, lm_word* words, lm_word* correction);

/* What follows is what a search and a model are made of. */

/* A beginning of a word. */
typedef struct {
  double log_probability;
  int32_t before, token; /* the row of what comes before its last token, -1 for the text; and that token */
  int32_t written;       /* bytes that it writes of the prefix */
  int32_t has_letters, is_partial;
} lm_beginning;

/* A word that a search has found: the row whose tokens write it, and one more token, -1 for none. */
typedef struct {
  uint64_t hash;
  double probability;
  int32_t row, token;
} lm_found;

/* How a beginning aligns with the taps: a row of numbers of its letters, and one of those without the last of them. */
typedef struct {
  double values[2][LM_MOST_TAPS + 1], bound;
  int32_t last; /* the symbol of the last letter, -1 for none */
} lm_row;

/* Words that are remembered besides those that are asked for. */
#define LM_MORE_FOUND 256

/* A list of words that were found, the likeliest first; of more than have room the least likely are forgotten. */
typedef struct {
  lm_found* words;
  int32_t size, room;
  int32_t num_settled; /* of the words, whose probabilities stay */
} lm_list;

#if LM_FLOAT
typedef float lm_weight;
typedef float lm_value;
#else
typedef int8_t lm_weight;
typedef int16_t lm_value;
#endif

/* What `lm_bytes` returns at most, of a model's sizes. */
#define LM_BYTES(num_words, num_rows, flags, vocabulary, letters, symbols, state, inputs, outputs)            \
  (sizeof(lm_search) + 128 + ((num_rows) + 2) * (2 * sizeof(lm_beginning) + sizeof(lm_asked)) +               \
   2 * (LM_MORE_FOUND + (num_words)) * sizeof(lm_found) + 4 * (vocabulary) +                                  \
   ((flags) & LM_ERRS ? ((num_rows) + 2) * sizeof(lm_row) + ((letters) + 2) * (8 * (LM_MOST_TAPS + 1) + 16) + \
                            8 * (symbols) * (LM_MOST_TAPS + 1)                                                \
                      : 0) +                                                                                  \
   ((flags) & LM_READS                                                                                        \
        ? 4 * ((num_rows) + 2) * (state) +                                                                    \
              LM_ROWS_TOGETHER * (4 * ((vocabulary) + (inputs) + (outputs)) + sizeof(lm_value) * (inputs))    \
        : 0))

struct lm_search {
  const lm_model* model;
  const lm_question* question;
  double total, at_least; /* that the next word begins as typed; the least probability that is looked for */
  double begun, sum;      /* with errors: that it comes and begins as typed; that of all words that may be meant */
  double least_share;     /* of what was found */
  double round_share, row_share; /* of the last word's probability: of what a round of rows is for, and of its rows */
  double given;                  /* the logarithm of the probability of what is known before the word */
  double literal;                /* of what is typed: the logarithm of its probability so far */
  uint64_t literal_hash;
  int32_t goal, is_settled; /* how many words are looked for; whether those that are sure are found */
  int32_t width;            /* rows of a round */
  int32_t most_rows, most_waiting, num_rows, num_waiting, left;
  int32_t literal_read;        /* of the tokens of what is typed, how many were read */
  int32_t ways[LM_WORD_BYTES]; /* how many more beginnings are read of those that write as much of the prefix */
  lm_list found, beside;
  lm_asked* asked;
  lm_beginning *rows, *waiting; /* [most_rows]; of `waiting` the likeliest last */
  float* probabilities;         /* [num_tokens] */
  /* if it errs */
  lm_row* aligned;                   /* [most_rows] */
  double (*path)[LM_MOST_TAPS + 1];  /* [most_letters + 2], rows of the letters of a token */
  int32_t *path_ends, *path_symbols; /* [most_letters + 1] */
  double* path_least;                /* [most_letters + 1], the least bound of a row with which one goes on */
  void* room_of_hits;
  lm_hits hits;
  /* if it reads */
  float *states, *log_probabilities; /* [most_rows][state_size], [LM_ROWS_TOGETHER][num_tokens] */
  float *inputs, *sums;              /* [LM_ROWS_TOGETHER][most_inputs], [LM_ROWS_TOGETHER][most_outputs] */
  lm_value* values;                  /* [LM_ROWS_TOGETHER][most_inputs] */
};

/* outputs = output_scales * (weights (input_scales * inputs)) + bias; scales that are not there are ones. */
typedef struct {
  const lm_weight* weights; /* [num_outputs][num_inputs], rows padded with zeros to a multiple of 32 */
  const float *input_scales, *output_scales, *bias;
  int32_t num_inputs, num_outputs;
} lm_matrix;

/* What a token is to words: bits. */
enum {
  LM_ENDS_WORD = 1,   /* does not go on with a word */
  LM_IS_WHOLE = 2,    /* is a word that ends at once, such as a sign */
  LM_IS_SPACED = 4,   /* begins with white space, or writes nothing */
  LM_HAS_LETTERS = 8, /* writes more than white space */
  LM_IS_PARTIAL = 16, /* writes a part of a character */
  LM_IS_UNNAMED = 32  /* is never shown: what stands for words that it does not name, and the end of a paragraph */
};

/* What a character is: bits. */
enum {
  LM_LETTER = 1,
  LM_MARK = 2,
  LM_DIGIT = 4,    /* a decimal digit */
  LM_NUMBER = 8,   /* another number */
  LM_SPACE = 16,   /* white space */
  LM_OPENING = 32, /* an opening bracket */
  LM_UNSPACED = 64 /* of a script without spaces between words */
};

/* How a person may err. */
enum {
  LM_RATE_WRONG,
  LM_RATE_OMITTED,
  LM_RATE_UNDOUBLED,
  LM_RATE_DOUBLED,
  LM_RATE_STRAY,
  LM_RATE_EXCHANGED,
  LM_RATE_UNSPACED,
  LM_RATE_SPACED,
  LM_RATE_SILENT,
  LM_RATE_PLAIN,
  LM_RATE_UNSHIFTED,
  LM_RATE_SHIFTED,
  LM_RATE_UNKNOWN
};

enum { LM_OF_WORDS, LM_OF_SUBWORDS, LM_OF_BYTES };
enum { LM_LSTM, LM_CIFG, LM_GRU };

struct lm_model {
  int32_t kind;     /* of tokens */
  int32_t cell;     /* of the recurrent layers */
  int32_t first;    /* whether a paragraph begins with a space */
  int32_t eos, unk; /* tokens; -1 for none */
  int32_t number;   /* the word that stands for numbers; -1 for none */
  int32_t num_tokens, num_merges, num_classes, num_cases, num_signs;
  int32_t num_symbols, num_nodes, space, num_known;
  int32_t most_letters; /* bytes of the longest piece */
  int32_t num_layers, num_matrices, embedding_size, state_size, most_inputs, most_outputs;
  const lm_weight* embeddings; /* [num_tokens][embedding_size], padded likewise */
  const float* embedding_scales;
  const uint8_t* pieces;      /* what the tokens write, one behind the other */
  const int32_t* pieces_ends; /* [num_tokens] */
  const uint8_t* folded;      /* the same in small letters; nothing of those that are not named */
  const int32_t* folded_ends; /* [num_tokens] */
  const uint8_t* roles;       /* [num_tokens], what they are to words */
  const int32_t* sorted;      /* words: [num_tokens], by what they write */
  const int32_t* merges;      /* subwords: [num_merges][4]: two tokens, the order of their merge, the result; sorted */
  const int32_t* of_bytes;    /* subwords: [256], the token of each byte */
  const uint32_t* classes;    /* [num_classes]: the first character of a range << 8 | what those up to the next are */
  const int32_t* cases;       /* [num_cases][4]: first, last, distance between, what makes them small */
  const uint8_t* signs;       /* of each sign: its bytes, as a word begins, elsewhere; each with its size before it */
  const uint32_t* symbols;    /* [num_symbols]: the characters of tokens that write words, sorted, and the space last */
  const int32_t* nodes;     /* [num_nodes][3], a trie of these tokens: a symbol, the node after its last descendant, and
                             * the token that ends there or -1; those that begin with a space are last, from `space` on */
  const uint32_t* known;    /* [num_known], sorted: the low bits of `lm_hash` of the words that are known, in small
                             * letters; none if all are */
  const float* rates;       /* how often a person errs, in the order of LM_RATE_WRONG and so on */
  const uint32_t* keys;     /* [4][40], the characters of the keys of the layouts, 0 behind them */
  const float* key_shapes;  /* [4][2]: the height of a key, and the standard deviation of taps */
  const float* key_centres; /* [4][40][2] */
  const float* key_hits;    /* [4][40][40]: how often a key is hit where another is meant, the meant one first */
  const int8_t* key_of;     /* [4][num_symbols], the key of each symbol, -1 for none */
  const uint8_t* is_plain;  /* [4][num_symbols], whether it is typed as another, without its accent */
  const lm_matrix* matrices; /* the layers': gates i, f, c, o of the inputs and h; any projection; logits */
};

#ifdef __cplusplus
}
#endif
#endif
