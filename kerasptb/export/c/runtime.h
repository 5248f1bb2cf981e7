/* A recurrent language model that reads text and finds the words that come next, after the letters that are typed.
 *
 * C99, with math.h and string.h alone. Nothing is allocated, no file is read, and there is no state but what the caller
 * gives: contexts and searches are structs of a known size, of which each thread may have its own. Texts are UTF-8 and
 * need no 0 at their end. All probabilities are of natural logarithms where the name says so.
 *
 * A keyboard splits what is typed, reads the whole words, and asks for the words that begin as the last one:
 *
 *   lm_split(text, size, &typed);
 *   lm_begin(&context);
 *   lm_read(&context, tokens, lm_encode(text, typed.whole, tokens, ROOM));
 *   found = lm_suggest(&search, &context, &typed, 3, words);
 *
 * A text that goes on need not be read again: its tokens begin with those that a context has read.
 */

#include <stddef.h>
#include <stdint.h>

/* What a search may be asked for, and how much it reads at most. On a small machine make them smaller where this is
 * compiled, such as -DLM_MOST_WORDS=3 -DLM_MOST_ROWS=32: a row is a state, the whole of them most of an `lm_search`. */
#ifndef LM_MOST_WORDS
#define LM_MOST_WORDS 16
#endif
#ifndef LM_MOST_ROWS
#define LM_MOST_ROWS (64 + 16 * LM_MOST_WORDS)
#endif
/* Rows that are read together. */
#ifndef LM_ROWS
#define LM_ROWS 4
#endif
/* Words that a search remembers; of more, the least likely are forgotten. */
#define LM_MOST_FOUND (256 + LM_MOST_WORDS)
/* Bytes of a word with the 0 behind it; longer words are not found, nor those that begin with so many letters. */
#define LM_WORD_BYTES 160

/* Keys that were hit, of a word that may be typed with errors; longer ones are not looked for. */
#define LM_MOST_TAPS 40

/* What the model knows after some tokens. */
typedef struct {
  float state[LM_STATE_SIZE];                  /* h and c of each layer */
  float log_probabilities[LM_VOCABULARY_SIZE]; /* of the next token */
} lm_context;

/* A text as far as it is typed. */
typedef struct {
  size_t whole;       /* bytes of the text up to the last whole word */
  size_t typed;       /* bytes of the word that is being typed, at the text's end, without the space before it */
  int begins;         /* whether it comes without a space before it, as behind an opening quote */
  size_t prefix_size; /* bytes of `prefix` */
  char prefix[LM_WORD_BYTES];  /* in small letters, with the space before it; empty if anything may come */
  char letters[LM_WORD_BYTES]; /* as it is typed, without the space; nothing if it has no room */
} lm_typed;

/* A word that may come next. */
typedef struct {
  char text[LM_WORD_BYTES]; /* with a 0 behind it */
  double probability;       /* that it comes, the letters that are typed included */
} lm_word;

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

/* What keys that were hit say of the letters that were meant, and how the rows of a search align with them: a row has
 * two of numbers, that of its letters and that without the last of them. */
typedef struct {
  int32_t num_taps, is_whole; /* whether they are all of the word */
  int32_t may_be_words;       /* whether each tap may be of a letter that the model knows, or of none */
  double likelihoods[LM_NUM_SYMBOLS][LM_MOST_TAPS], strays[LM_MOST_TAPS], omitted[LM_NUM_SYMBOLS];
  double values[LM_MOST_ROWS][2][LM_MOST_TAPS + 1], bounds[LM_MOST_ROWS];
  int32_t last[LM_MOST_ROWS];                         /* the symbol of the last letter, -1 for none */
  double path[LM_MOST_LETTERS + 2][LM_MOST_TAPS + 1]; /* rows of the letters of a token */
  int32_t path_ends[LM_MOST_LETTERS + 1], path_symbols[LM_MOST_LETTERS + 1];
} lm_taps;

/* What a search works with: about LM_MOST_ROWS * LM_STATE_SIZE * 4 bytes, and its results but for the words. */
typedef struct {
  double prefix_probability; /* that the next word begins with the prefix */
  const lm_context* context;
  const lm_typed* typed;
  lm_taps* taps;                 /* 0 if nobody errs */
  double at_least, least_share;  /* the least probability that is looked for, and its share of what was found */
  double round_share, row_share; /* of the last word's probability: of what a round of rows is for, and of its rows */
  int32_t width;                 /* rows of a round */
  int32_t num_words, num_rows, num_waiting, num_found, left;
  int32_t ways[LM_WORD_BYTES]; /* how many more beginnings are read of those that write as much of the prefix */
  lm_beginning rows[LM_MOST_ROWS];
  float states[LM_MOST_ROWS][LM_STATE_SIZE];
  lm_beginning waiting[LM_MOST_ROWS]; /* the likeliest last */
  lm_found found[LM_MOST_FOUND];      /* the likeliest first */
  float log_probabilities[LM_ROWS][LM_VOCABULARY_SIZE], probabilities[LM_VOCABULARY_SIZE];
} lm_search;

/* Writes a text with the signs that the model knows, such as ' for a typographic apostrophe if it has met none.
 *
 * Returns the bytes of the result, of which no more than `room` are written, and whole characters only. Give it any
 * text before the functions below. */
size_t lm_read_signs(const char* text, size_t size, char* result, size_t room);

/* Finds the word that is being typed at a text's end. */
void lm_split(const char* text, size_t size, lm_typed* typed);

/* Finds the tokens of a text that begins a paragraph; a line's end ends a paragraph.
 *
 * Returns how many they are, of which no more than `room` are written. Of letters without a space, tokens of words are
 * looked for in 256 bytes at a time. */
size_t lm_encode(const char* text, size_t size, int32_t* tokens, size_t room);

/* Returns what a token writes, with the space before it, and its number of bytes. */
const char* lm_piece(int32_t token, size_t* size);

/* The context before any text. All tokens are alike there if the vocabulary has no end of a line. */
void lm_begin(lm_context* context);

/* Reads tokens, each from 0 to LM_VOCABULARY_SIZE - 1. Only the log probabilities after the last are computed. */
void lm_read(lm_context* context, const int32_t* tokens, size_t num_tokens);

/* Finds the `num_words` likeliest words that begin as typed after a context, at most LM_MOST_WORDS.
 *
 * Returns how many there are, the likeliest first; fewer if the others are all but impossible. */
int lm_suggest(lm_search* search, const lm_context* context, const lm_typed* typed, int num_words, lm_word* words);

/* Layouts of keys. */
enum { LM_AZERTY, LM_PORTUGUESE, LM_QWERTY, LM_QWERTZ };

/* Finds the likeliest words for a word that may be typed with errors, as `lm_suggest` does for what is typed.
 *
 * `points` are where the keys were hit: x and y of each letter, in widths of a key from the corner of the keys; 0 if
 * that is not known. The words may go on, what is typed may be among them, and their probabilities are those that they
 * come and are typed so; `search->prefix_probability` is that of all. `correction` is the word that is to be written
 * instead if a space or a sign follows; its text is empty if the word stays. Words longer than LM_MOST_TAPS letters
 * stay. */
int lm_suggest_typos(lm_search* search, lm_taps* taps, const lm_context* context, const lm_typed* typed, int layout,
                     const float* points, int num_words, lm_word* words, lm_word* correction);

/* What follows is what a model is made of: tables that are generated. */

#if LM_FLOAT
typedef float lm_weight;
typedef float lm_value;
#else
typedef int8_t lm_weight;
typedef int16_t lm_value;
#endif

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

typedef struct {
  int32_t kind;     /* of tokens */
  int32_t cell;     /* of the recurrent layers */
  int32_t first;    /* whether a paragraph begins with a space */
  int32_t eos, unk; /* tokens; -1 for none */
  int32_t number;   /* the word that stands for numbers; -1 for none */
  int32_t num_tokens, num_layers, num_matrices, num_merges, num_classes, num_cases, num_signs;
  int32_t embedding_size;
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
  int32_t num_symbols, num_nodes, space, num_known;
  const uint32_t* symbols; /* [num_symbols]: the characters of tokens that write words, sorted, and the space last */
  const int32_t* nodes;    /* [num_nodes][3], a trie of these tokens: a symbol, the node after its last descendant, and
                            * the token that ends there or -1; those that begin with a space are last, from `space` on */
  const uint32_t*
      known;            /* [num_known], sorted: hashes of the words that are known, in small letters; none if all are */
  const float* rates;   /* how often a person errs, in the order of LM_RATE_WRONG and so on */
  const uint32_t* keys; /* [4][40], the characters of the keys of the layouts, 0 behind them */
  const float* key_shapes;  /* [4][2]: the height of a key, and the standard deviation of taps */
  const float* key_centres; /* [4][40][2] */
  const float* key_hits;    /* [4][40][40]: how often a key is hit where another is meant, the meant one first */
  const int8_t* key_of;     /* [4][num_symbols], the key of each symbol, -1 for none */
  const uint8_t* is_plain;  /* [4][num_symbols], whether it is typed as another, without its accent */
  lm_matrix matrices[LM_MOST_MATRICES]; /* the layers': gates i, f, c, o of the inputs and h; any projection; logits */
} lm_tables;
