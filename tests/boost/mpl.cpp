// MPL's preprocessed sequences, whose headers are chosen by computed includes.
#define BOOST_MPL_CFG_NO_PREPROCESSED_HEADERS
#define BOOST_MPL_LIMIT_LIST_SIZE 30
#define BOOST_MPL_LIMIT_VECTOR_SIZE 30
#include <boost/mpl/fold.hpp>
#include <boost/mpl/for_each.hpp>
#include <boost/mpl/int.hpp>
#include <boost/mpl/list.hpp>
#include <boost/mpl/map.hpp>
#include <boost/mpl/plus.hpp>
#include <boost/mpl/set.hpp>
#include <boost/mpl/sizeof.hpp>
#include <boost/mpl/transform.hpp>
#include <boost/mpl/vector.hpp>
#include <boost/mpl/vector_c.hpp>

namespace mpl = boost::mpl;

using numbers = mpl::vector_c<int, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10>;
using sum = mpl::fold<numbers, mpl::int_<0>, mpl::plus<mpl::_1, mpl::_2>>::type;
static_assert(sum::value == 55, "the sum of the numbers");

int total() { return sum::value; }
