// Older machinery: Lambda, Bind, Function and Xpressive, all written with preprocessor iteration.
#define BOOST_FUNCTION_MAX_ARGS 12
#define BOOST_XPRESSIVE_MAX_ARITY 10
#include <boost/bind/bind.hpp>
#include <boost/function.hpp>
#include <boost/lambda/bind.hpp>
#include <boost/lambda/lambda.hpp>
#include <boost/typeof/std/string.hpp>
#include <boost/typeof/typeof.hpp>
#include <boost/xpressive/xpressive.hpp>
#include <string>

bool is_word(const std::string &text) {
    using namespace boost::xpressive;
    static const sregex word = bos >> +_w >> eos;
    return regex_match(text, word);
}
boost::function<int(int)> twice = boost::lambda::_1 * 2;
