// A little language in Proto, with more arguments than its preprocessed headers have.
#define BOOST_PROTO_MAX_ARITY 11
#define BOOST_PROTO_MAX_LOGICAL_ARITY 11
#define BOOST_PROTO_MAX_FUNCTION_CALL_ARITY 11
#define BOOST_MPL_LIMIT_METAFUNCTION_ARITY 11
#define BOOST_RESULT_OF_NUM_ARGS 11
#include <boost/proto/proto.hpp>
#include <iostream>

namespace proto = boost::proto;

proto::terminal<int>::type const one = {1};

struct Arithmetic : proto::or_<proto::terminal<int>, proto::plus<Arithmetic, Arithmetic>, proto::multiplies<Arithmetic, Arithmetic>> {};

template <typename Expression> int evaluate(const Expression &expression) {
    static_assert(proto::matches<Expression, Arithmetic>::value, "an arithmetic expression");
    proto::default_context context;
    return proto::eval(expression, context);
}

int two() { return evaluate(one + one * one); }
