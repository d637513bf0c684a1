// The item browser: data as JSON inside the page, a small script that filters and shows fifty at a time.
#include "base/json.h"
#include "report/document.h"

namespace bm {
namespace {

constexpr const char* kScript = R"js(
(function(){
var place=document.currentScript.previousElementSibling,data=JSON.parse(place.textContent),box=place.previousElementSibling;
var find=box.querySelector('input[type=search]'),task=box.querySelector('select[name=task]'),which=box.querySelector('select[name=which]');
var body=box.querySelector('tbody'),said=box.querySelector('[role=status]'),back=box.querySelector('[name=back]'),on=box.querySelector('[name=on]');
var page=0,size=50;
data.tasks.forEach(function(t,i){var o=document.createElement('option');o.value=i;o.textContent=t;task.appendChild(o);});
function fits(r){
 if(task.value!==''&&r[0]!==+task.value)return false;
 var text=find.value.trim().toLowerCase();
 if(text&&(r[1]+' '+data.tasks[r[0]]).toLowerCase().indexOf(text)<0)return false;
 var given=r[3].filter(function(a){return a;}).map(function(a){return a[0];});
 if(which.value==='disagree')return given.some(function(g){return g!==given[0];});
 if(which.value==='wrong')return given.every(function(g){return g!==r[2];});
 if(which.value==='right')return given.every(function(g){return g===r[2];});
 return true;}
function cell(row,text,kind,head){var c=document.createElement(head?'th':'td');if(head)c.scope='row';c.textContent=text;if(kind)c.className=kind;row.appendChild(c);}
function show(){
 var rows=data.rows.filter(fits),pages=Math.max(1,Math.ceil(rows.length/size));
 page=Math.min(page,pages-1);body.textContent='';
 rows.slice(page*size,page*size+size).forEach(function(r){
  var row=document.createElement('tr');cell(row,r[1],'',true);cell(row,data.tasks[r[0]]);cell(row,r[2]);
  r[3].forEach(function(a){if(!a)return cell(row,'–');
   cell(row,(a[0]===r[2]?'✓ ':'✗ ')+a[0]+(a[1]?' '+a[1].toFixed(2):''),a[0]===r[2]?'right':'wrong');});
  body.appendChild(row);});
 said.textContent=rows.length+' of '+data.rows.length+' items, page '+(page+1)+' of '+pages;
 back.disabled=page===0;on.disabled=page>=pages-1;}
[find,task,which].forEach(function(e){e.addEventListener('input',function(){page=0;show();});});
back.addEventListener('click',function(){page--;show();});on.addEventListener('click',function(){page++;show();});
show();})();
)js";

// JSON that cannot end the script element it stands in.
std::string script_safe(const std::string& json) {
  std::string out;
  for (char c : json) {
    if (c == '<')
      out += "\\u003c";
    else if (c == '&')
      out += "\\u0026";
    else
      out += c;
  }
  return out;
}

double two_digits(double value) { return static_cast<double>(static_cast<int64_t>(100 * value + 0.5)) / 100; }

}  // namespace

std::string browser_html(const ItemBrowser& browser) {
  Json tasks = Json::array(), rows = Json::array();
  int64_t task = -1;
  for (const auto& row : browser.rows) {
    for (task = 0; task < static_cast<int64_t>(tasks.size()); ++task)
      if (tasks[static_cast<size_t>(task)].as_string() == row.task) break;
    if (task == static_cast<int64_t>(tasks.size())) tasks.push_back(row.task);
    Json answers = Json::array();
    for (const auto& answer : row.answers)
      answers.push_back(answer.given.empty()
                            ? Json()
                            : Json::array({clean_text(answer.given), two_digits(answer.probability)}));
    rows.push_back(Json::array({task, clean_text(row.identifier), row.right, std::move(answers)}));
  }
  std::string head;
  for (const auto& model : browser.models) head += "<th scope=\"col\">" + escape_html(model) + "</th>";
  Json data = Json::object({{"tasks", std::move(tasks)}, {"rows", std::move(rows)}});
  return "<div><div class=\"browse\"><label>Search <input type=\"search\"/></label>"
         "<label>Task <select name=\"task\"><option value=\"\">all</option></select></label>"
         "<label>Show <select name=\"which\"><option value=\"\">all items</option>"
         "<option value=\"disagree\">models disagree</option><option value=\"wrong\">all wrong</option>"
         "<option value=\"right\">all right</option></select></label>"
         "<button type=\"button\" name=\"back\">Previous</button><button type=\"button\" "
         "name=\"on\">Next</button>"
         "<span role=\"status\"></span></div><noscript><p>This list needs scripts; the same answers stand in "
         "the predictions files.</p></noscript>"
         "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Answers item by "
         "item\"><table><thead><tr>"
         "<th scope=\"col\">item</th><th scope=\"col\">task</th><th scope=\"col\">right</th>" +
         head + "</tr></thead><tbody></tbody></table></div><p class=\"note\">" + escape_html(browser.note) +
         "</p></div><script type=\"application/json\">" + script_safe(data.dump()) + "</script><script>" +
         kScript + "</script>";
}

}  // namespace bm
