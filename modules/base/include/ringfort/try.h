/// The few macros that cannot be functions: an early return on a failed `Result`.
///
/// RF_TRY(expression);            returns the expression's Error from a function returning Result
/// RF_LET(auto name, expression); the same, and otherwise declares `name` with the value
/// RF_CO_TRY, RF_CO_LET           the same inside a coroutine
#ifndef RINGFORT_TRY_H
#define RINGFORT_TRY_H

#include <utility>

#define RF_JOIN_(a, b) a##b
#define RF_JOIN(a, b) RF_JOIN_(a, b)
#define RF_LET_(result, declaration, expression, leave) \
    auto result = (expression);                         \
    if (!result) [[unlikely]]                           \
        leave result.error();                           \
    declaration = *std::move(result)
#define RF_TRY_(expression, leave)                                  \
    do {                                                            \
        if (auto rf_result = (expression); !rf_result) [[unlikely]] \
            leave rf_result.error();                                \
    } while (false)

#define RF_TRY(...) RF_TRY_((__VA_ARGS__), return)
#define RF_CO_TRY(...) RF_TRY_((__VA_ARGS__), co_return)
#define RF_LET(declaration, ...) \
    RF_LET_(RF_JOIN(rf_result_, __LINE__), declaration, (__VA_ARGS__), return)
#define RF_CO_LET(declaration, ...) \
    RF_LET_(RF_JOIN(rf_result_, __LINE__), declaration, (__VA_ARGS__), co_return)

#endif
