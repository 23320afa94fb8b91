// Boost.Preprocessor's slots and counter: numbers kept by including headers that define their digits.
#include <boost/preprocessor/repetition/repeat.hpp>
#include <boost/preprocessor/seq/for_each.hpp>
#include <boost/preprocessor/seq/for_each_product.hpp>
#include <boost/preprocessor/slot/counter.hpp>
#include <boost/preprocessor/slot/slot.hpp>
#include <boost/preprocessor/stringize.hpp>
#include <boost/preprocessor/tuple/elem.hpp>

#define BOOST_PP_VALUE 12 * 34 + 5
#include BOOST_PP_ASSIGN_SLOT(1)
#define BOOST_PP_VALUE BOOST_PP_SLOT(1) - 400
#include BOOST_PP_ASSIGN_SLOT(2)
#include BOOST_PP_UPDATE_COUNTER()
#include BOOST_PP_UPDATE_COUNTER()

#if BOOST_PP_SLOT(2) == 13
#include <boost/array.hpp>
#endif
#if BOOST_PP_COUNTER == 2
#include <boost/tuple/tuple.hpp>
#endif

#define COLOURS (red)(green)(blue)
#define NAME(r, data, element) BOOST_PP_STRINGIZE(element),
const char *names[] = {BOOST_PP_SEQ_FOR_EACH(NAME, ~, COLOURS)};
boost::array<int, BOOST_PP_SLOT(2)> slots;
boost::tuple<int, int> pair(BOOST_PP_SLOT(1), BOOST_PP_COUNTER);
