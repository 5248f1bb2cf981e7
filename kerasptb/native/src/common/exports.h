// What marks the library's C functions.
#pragma once

#define KERASPTB_EXPORT extern "C" __attribute__((visibility("default")))
