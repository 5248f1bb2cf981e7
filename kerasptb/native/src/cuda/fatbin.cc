// The CUDA kernels' compiled code, as bytes: what nvcc made of cuda/kernels.cu, or nothing where there was no nvcc. The
// build gives the file's name in KERASPTB_FATBIN, and the major version of the nvcc, 0 if it is not known, in
// KERASPTB_NVCC.
extern "C" {

extern const int kerasptb_fatbin_nvcc;

#ifdef KERASPTB_FATBIN

// clang-format off
asm(".pushsection .rodata\n"
    ".balign 16\n"
    ".global kerasptb_fatbin\n"
    ".hidden kerasptb_fatbin\n"
    "kerasptb_fatbin:\n"
    ".incbin \"" KERASPTB_FATBIN "\"\n"
    "kerasptb_fatbin_end:\n"
    ".balign 8\n"
    ".global kerasptb_fatbin_size\n"
    ".hidden kerasptb_fatbin_size\n"
    "kerasptb_fatbin_size:\n"
    ".8byte kerasptb_fatbin_end - kerasptb_fatbin\n"
    ".popsection\n");
// clang-format on
const int kerasptb_fatbin_nvcc = KERASPTB_NVCC;

#else

extern const unsigned char kerasptb_fatbin[];
extern const unsigned long long kerasptb_fatbin_size;
const unsigned char kerasptb_fatbin[] = {0};
const unsigned long long kerasptb_fatbin_size = 0;
const int kerasptb_fatbin_nvcc = 0;

#endif

}  // extern "C"
