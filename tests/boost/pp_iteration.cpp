// Boost.Preprocessor's file iteration: the file includes itself through a computed name, in two dimensions.
#ifndef BOOST_PP_IS_ITERATING
#include <boost/preprocessor/arithmetic/inc.hpp>
#include <boost/preprocessor/cat.hpp>
#include <boost/preprocessor/iteration/iterate.hpp>
#include <boost/preprocessor/repetition/enum_params.hpp>

#define BOOST_PP_ITERATION_PARAMS_1 (3, (1, 12, "pp_iteration.cpp"))
#include BOOST_PP_ITERATE()

int total() {
    return sum_1(1) + sum_12(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) + cell_3_2();
}
#elif BOOST_PP_ITERATION_DEPTH() == 1
int BOOST_PP_CAT(sum_, BOOST_PP_ITERATION())(BOOST_PP_ENUM_PARAMS(BOOST_PP_ITERATION(), int a)) {
    return a0 + BOOST_PP_ITERATION();
}
#define BOOST_PP_ITERATION_PARAMS_2 (3, (1, BOOST_PP_FRAME_ITERATION(1), "pp_iteration.cpp"))
#include BOOST_PP_ITERATE()
#elif BOOST_PP_ITERATION_DEPTH() == 2
int BOOST_PP_CAT(BOOST_PP_CAT(cell_, BOOST_PP_FRAME_ITERATION(1)), BOOST_PP_CAT(_, BOOST_PP_FRAME_ITERATION(2)))() {
    return BOOST_PP_FRAME_ITERATION(1) * BOOST_PP_FRAME_ITERATION(2);
}
#endif
